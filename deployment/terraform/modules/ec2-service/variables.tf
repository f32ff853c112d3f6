# What runs

variable "deployment_name" {
  description = "Prefix of every name, and the value of the tag Deployment. Changing it replaces everything."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.deployment_name))
    error_message = "deployment_name must be 3 to 24 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen."
  }
}

variable "image_uri" {
  description = "Container image with a tag that never moves, or a digest. Another one is rolled out by rollout.py, after the apply."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.:-]+(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$", var.image_uri))
    error_message = "image_uri must be REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:DIGEST."
  }

  validation {
    condition     = !endswith(var.image_uri, ":latest")
    error_message = "image_uri must not end with :latest: a tag that moves neither rolls forward nor back."
  }
}

variable "environment" {
  description = "Environment variables of the container: the service's SD_ settings. No secrets: they are readable in the console."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for name, value in var.environment :
      can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && !strcontains(value, "\n")
    ])
    error_message = "environment must have names of letters, digits and underscores, and values of one line."
  }

  validation {
    condition     = length(setintersection(keys(var.environment), ["SD_ALLOW_ANONYMOUS", "SD_API_KEYS", "SD_API_KEYS_FILE"])) == 0
    error_message = "environment must not set SD_API_KEYS, SD_API_KEYS_FILE and SD_ALLOW_ANONYMOUS: keys are secrets (api_keys), and to have none is allow_anonymous."
  }

  validation {
    condition     = length(setintersection(keys(var.environment), ["SD_DEADLINE", "SD_DRAIN", "SD_KEEP_ALIVE_SECONDS"])) == 0
    error_message = "environment must not set SD_DEADLINE, SD_DRAIN and SD_KEEP_ALIVE_SECONDS: the load balancer depends on them, set deadline_seconds and drain_seconds."
  }
}

variable "secrets" {
  description = "Environment variables whose values are read when the container starts: ssm:NAME is a parameter of the Parameter Store, secretsmanager:NAME a secret."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for name, source in var.secrets :
      can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && can(regex("^(ssm|secretsmanager):[A-Za-z0-9/_+=.@-]+$", source))
    ])
    error_message = "secrets must map names of environment variables to ssm:NAME or secretsmanager:NAME."
  }

  validation {
    condition     = length(setintersection(keys(var.secrets), keys(var.environment))) == 0
    error_message = "secrets and environment must not set the same variable."
  }
}

variable "secrets_kms_key_arn" {
  description = "Customer-managed KMS key that the secrets are encrypted with; null: the AWS-managed one."
  type        = string
  default     = null

  validation {
    condition     = var.secrets_kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.secrets_kms_key_arn))
    error_message = "secrets_kms_key_arn must be the ARN of a KMS key."
  }
}

variable "model_source" {
  description = "s3://BUCKET/PREFIX whose files are copied to the instance at boot and are /models in the container, its SD_MODEL_SOURCE; null: the image has its models."
  type        = string
  default     = null

  validation {
    condition     = var.model_source == null || can(regex("^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.=-]+)+/?$", var.model_source))
    error_message = "model_source must be s3://BUCKET/PREFIX: the instances may read that prefix and nothing else."
  }
}

variable "api_keys" {
  description = "Where the keys of the clients are, as python -m api.keys writes them: ssm:NAME, a SecureString of the Parameter Store, or secretsmanager:NAME. Read when the container starts, and every five minutes, into a file in memory (SD_API_KEYS_FILE)."
  type        = string
  default     = null

  validation {
    condition     = var.api_keys == null || can(regex("^(ssm|secretsmanager):[A-Za-z0-9/_+=.@-]+$", var.api_keys))
    error_message = "api_keys must be ssm:NAME or secretsmanager:NAME: where the keys are, not the keys."
  }
}

variable "allow_anonymous" {
  description = "Let everybody in allowed_cidrs use the service, without a key (SD_ALLOW_ANONYMOUS)."
  type        = bool
  default     = false
  nullable    = false
}

variable "deadline_seconds" {
  description = "SD_DEADLINE: seconds a request may take. The load balancer waits a minute longer."
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = var.deadline_seconds >= 1 && var.deadline_seconds <= 3540
    error_message = "deadline_seconds must be from 1 to 3540: a load balancer drains for 3600 seconds at most."
  }
}

variable "drain_seconds" {
  description = "SD_DRAIN: seconds that running jobs get once the service is asked to stop. Above 90 a spot interruption (two minutes' notice) may cut them short."
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.drain_seconds >= 0 && var.drain_seconds <= 3600
    error_message = "drain_seconds must be from 0 to 3600."
  }
}

# Instances

variable "instance_type" {
  description = "x86_64 instance type. With one NVIDIA GPU: g6.xlarge (L4, 24 GB), g5.xlarge (A10G, 24 GB), g4dn.xlarge (T4, 16 GB)."
  type        = string
  default     = "g6.xlarge"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "instance_type must look like g6.xlarge."
  }

  validation {
    condition = alltrue([
      for type in concat([var.instance_type], var.alternative_instance_types) :
      !can(regex("^([a-z]+[0-9]+g[a-z]*|a1|g4ad)\\.", type))
    ])
    error_message = "instance_type and alternative_instance_types must be x86_64, and their GPUs NVIDIA's: not Graviton (t4g, m7g, g5g, ...), not g4ad."
  }

  validation {
    condition = alltrue([
      for type in concat([var.instance_type], var.alternative_instance_types) :
      !can(regex("^(gr?[7-9]|p[6-9])[a-z0-9-]*\\.", type))
    ])
    error_message = "instance_type and alternative_instance_types must have GPUs that CUDA 12.6, which the image brings along, has code for: not Blackwell (g7e, p6-b200, ...), where the service would not start."
  }
}

variable "alternative_instance_types" {
  description = "Types to take, in this order, where instance_type is not to be had; with spot, the cheapest that is least likely to be interrupted."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for type in var.alternative_instance_types : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", type))])
    error_message = "alternative_instance_types must look like g5.xlarge."
  }
}

variable "enable_gpus" {
  description = "Give the container the instance's NVIDIA GPUs. False for types without one."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition = alltrue([
      for type in concat([var.instance_type], var.alternative_instance_types) :
      var.enable_gpus == can(regex("^(g|gr|p)[0-9]", type))
    ])
    error_message = "enable_gpus must be true for types with NVIDIA GPUs (g4dn, g5, g6, p4, ...) and false for all others."
  }
}

variable "ami_id" {
  description = "AMI, of Amazon Linux 2023 (one of yours has al2023 in its name or description); null: Amazon's newest (Deep Learning Base with the NVIDIA driver, if enable_gpus), looked up at each apply, and rolled out with the next image."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id must look like ami-0123456789abcdef0."
  }
}

variable "root_volume_gb" {
  description = "Size of the encrypted gp3 root volume in GB: the image, twice while it is unpacked, and the AMI's own 75. Not less than the AMI's."
  type        = number
  default     = 120
  nullable    = false

  validation {
    condition     = var.root_volume_gb >= 120 && var.root_volume_gb <= 16384
    error_message = "root_volume_gb must be from 120 to 16384."
  }
}

variable "max_instance_days" {
  description = "Days after which an instance is replaced, in turn; null: never. With another AMI in the launch template it gets that one's patches."
  type        = number
  default     = null

  validation {
    condition     = var.max_instance_days == null || try(var.max_instance_days >= 1 && var.max_instance_days <= 365 && floor(var.max_instance_days) == var.max_instance_days, false)
    error_message = "max_instance_days must be a whole number from 1 to 365."
  }
}

variable "max_failed_boots" {
  description = "Boots that may fail within an hour before no more are tried: the roll-out that is under way is rolled back, or without one the group launches nothing until the next roll-out. 0: no brake."
  type        = number
  default     = 4
  nullable    = false

  validation {
    condition     = var.max_failed_boots >= 0 && var.max_failed_boots <= 50 && floor(var.max_failed_boots) == var.max_failed_boots
    error_message = "max_failed_boots must be a whole number from 0 to 50."
  }
}

variable "min_size" {
  description = "Instances at least. Zero is only reached by a schedule: with no instance there is no metric to wake one."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.min_size >= 1 && floor(var.min_size) == var.min_size
    error_message = "min_size must be a whole number of at least 1; for hours without an instance use schedule."
  }
}

variable "max_size" {
  description = "Instances at most."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.max_size >= var.min_size && floor(var.max_size) == var.max_size
    error_message = "max_size must be a whole number of at least min_size."
  }
}

variable "jobs_per_instance" {
  description = "Jobs, waiting or running, that an instance should have on average: above it instances are added, below it removed."
  type        = number
  default     = 12
  nullable    = false

  validation {
    condition     = var.jobs_per_instance > 0
    error_message = "jobs_per_instance must be above 0."
  }
}

variable "spot" {
  description = "Take spot instances above on_demand_base."
  type        = bool
  default     = false
  nullable    = false
}

variable "on_demand_base" {
  description = "With spot: on-demand instances that come first."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.on_demand_base >= 0 && floor(var.on_demand_base) == var.on_demand_base
    error_message = "on_demand_base must be a whole number of at least 0."
  }
}

variable "schedule" {
  description = "Hours without any instance: cron expressions of when to stop and when to start, and their time zone; null: always on. An apply while it has stopped them wakes none."
  type = object({
    stop      = string
    start     = string
    time_zone = optional(string, "Etc/UTC")
  })
  default = null

  validation {
    condition = var.schedule == null || alltrue([
      for cron in [try(var.schedule.stop, ""), try(var.schedule.start, "")] : can(regex("^\\S+( \\S+){4}$", cron))
    ])
    error_message = "schedule.stop and schedule.start must be cron expressions of five fields, such as 0 20 * * 1-5."
  }
}

variable "refresh_min_healthy_percentage" {
  description = "Instances kept in service while a new image or AMI rolls out. 100 starts the new one first; 0 does with one instance's quota, with a gap."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.refresh_min_healthy_percentage >= 0 && var.refresh_min_healthy_percentage <= 100
    error_message = "refresh_min_healthy_percentage must be from 0 to 100."
  }
}

variable "refresh_alarm_enabled" {
  description = "Roll back when more than 5 % of the responses of the service are 5xx meanwhile, of 50 or more in five minutes."
  type        = bool
  default     = true
  nullable    = false
}

variable "start_timeout_seconds" {
  description = "Seconds from the boot of an instance until /readyz is 200, image and models included; one that takes longer is replaced."
  type        = number
  default     = 1800
  nullable    = false

  validation {
    condition     = var.start_timeout_seconds >= 300 && var.start_timeout_seconds <= 7200
    error_message = "start_timeout_seconds must be from 300 to 7200."
  }
}

# Network

variable "allowed_cidrs" {
  description = "Who may reach the load balancer. All addresses (0.0.0.0/0) only with a certificate; then think of API keys."
  type        = list(string)

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "allowed_cidrs must have at least one IPv4 block, such as 203.0.113.7/32."
  }

  validation {
    condition     = var.certificate_arn != null || alltrue([for cidr in var.allowed_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, false)])
    error_message = "allowed_cidrs must be blocks of /8 or smaller as long as there is no certificate_arn: plain HTTP is not opened to the world."
  }
}

variable "certificate_arn" {
  description = "ACM certificate: the load balancer then speaks TLS 1.3 and 1.2, and redirects HTTP. Null: plain HTTP, for allowed_cidrs only."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/", var.certificate_arn))
    error_message = "certificate_arn must be the ARN of an ACM certificate."
  }
}

variable "domain_name" {
  description = "Name that the certificate is for, and that clients use; null: the load balancer's own."
  type        = string
  default     = null

  validation {
    condition     = var.domain_name == null || can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain_name))
    error_message = "domain_name must look like pictures.example.com."
  }
}

variable "zone_id" {
  description = "Route 53 zone in which domain_name is made to point to the load balancer; null: you do that."
  type        = string
  default     = null

  validation {
    condition     = var.zone_id == null || var.domain_name != null
    error_message = "zone_id needs a domain_name."
  }
}

variable "internal" {
  description = "A load balancer without public addresses, for the VPC and what is connected to it."
  type        = bool
  default     = false
  nullable    = false
}

variable "vpc_id" {
  description = "VPC to use; null: one is made. Changing it replaces everything."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_id == null || can(regex("^vpc-[0-9a-f]{8,17}$", var.vpc_id))
    error_message = "vpc_id must look like vpc-0123456789abcdef0."
  }
}

variable "load_balancer_subnet_ids" {
  description = "With vpc_id: subnets of the load balancer in two zones at least; public ones unless internal."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = var.vpc_id == null ? length(var.load_balancer_subnet_ids) == 0 : length(var.load_balancer_subnet_ids) >= 2
    error_message = "load_balancer_subnet_ids must have two subnets at least with a vpc_id, and none without."
  }
}

variable "instance_subnet_ids" {
  description = "With vpc_id: private subnets of the instances. They need a way to ECR, S3, CloudWatch, Auto Scaling and SSM: NAT or endpoints."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = var.vpc_id == null ? length(var.instance_subnet_ids) == 0 : length(var.instance_subnet_ids) >= 1
    error_message = "instance_subnet_ids must have a subnet at least with a vpc_id, and none without."
  }
}

variable "vpc_cidr" {
  description = "Without vpc_id: the addresses of the VPC that is made. Changing it replaces everything."
  type        = string
  default     = "10.60.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 22, false)
    error_message = "vpc_cidr must be an IPv4 block from /16 to /22."
  }
}

variable "egress" {
  description = "Without vpc_id, the instances' way out: nat (one NAT gateway, reaches everything) or endpoints (AWS services only, no internet)."
  type        = string
  default     = "nat"
  nullable    = false

  validation {
    condition     = contains(["nat", "endpoints"], var.egress)
    error_message = "egress must be nat or endpoints."
  }
}

variable "availability_zones" {
  description = "Without vpc_id: zones to use, two or more; null: all that offer instance_type or one of its alternatives. Others can be taken later; no subnet is replaced."
  type        = list(string)
  default     = null

  validation {
    condition     = var.availability_zones == null || try(length(distinct(var.availability_zones)) == length(var.availability_zones) && length(var.availability_zones) >= 2, false)
    error_message = "availability_zones must be two different zones at least, such as us-east-1a and us-east-1b."
  }
}

variable "nat_per_zone" {
  description = "With egress nat: a NAT gateway in each zone that is used, so that the loss of a zone stops no boot in another one. By default one for all."
  type        = bool
  default     = false
  nullable    = false
}

variable "dns_server_cidrs" {
  description = "Addresses of DNS servers of your own (DHCP options of your VPC); Amazon's needs none."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.dns_server_cidrs : can(cidrnetmask(cidr))])
    error_message = "dns_server_cidrs must be IPv4 blocks, such as 10.0.0.2/32."
  }
}

variable "flow_logs_bucket_arn" {
  description = "S3 bucket for the VPC's flow logs, with a policy that lets them be delivered; null: none."
  type        = string
  default     = null

  validation {
    condition     = var.flow_logs_bucket_arn == null || can(regex("^arn:aws[a-z-]*:s3:::", var.flow_logs_bucket_arn))
    error_message = "flow_logs_bucket_arn must be the ARN of an S3 bucket."
  }
}

variable "web_acl_arn" {
  description = "Web application firewall (WAFv2, regional) in front of the load balancer; null: none."
  type        = string
  default     = null

  validation {
    condition     = var.web_acl_arn == null || can(regex("^arn:aws[a-z-]*:wafv2:[a-z0-9-]+:[0-9]{12}:regional/webacl/", var.web_acl_arn))
    error_message = "web_acl_arn must be the ARN of a regional web ACL."
  }
}

# Whose keys and permissions

variable "kms_key_arn" {
  description = "Customer-managed KMS key of the disks, the log group and the topic of alarms; its policy must let them (docs/deploy-ec2.md). Null: AWS's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the instances' role; null: none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "iam_path" {
  description = "Path of the instances' role and profile."
  type        = string
  default     = "/"
  nullable    = false

  validation {
    condition     = can(regex("^/([A-Za-z0-9_+=,.@-]+/)*$", var.iam_path))
    error_message = "iam_path must begin and end with a slash, such as /services/."
  }
}

# Watching

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, ..."
  }
}

variable "alarm_email" {
  description = "Address that alarms are sent to, once it has confirmed; null: none."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null || can(regex("^[^@\\s]+@[^@\\s]+$", var.alarm_email))
    error_message = "alarm_email must be an e-mail address."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics of your own that alarms are sent to."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : can(regex("^arn:aws[a-z-]*:sns:", arn))])
    error_message = "alarm_topic_arns must be ARNs of SNS topics."
  }
}

variable "monthly_budget_usd" {
  description = "Dollars a month at 80 % of which, and when they are likely to be passed, a mail or a message is sent to where alarms are. AWS counts by the tag Deployment, which has to be activated for costs. Null: no budget."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget_usd == null || try(var.monthly_budget_usd > 0, false)
    error_message = "monthly_budget_usd must be above 0."
  }

  validation {
    condition     = var.monthly_budget_usd == null || var.alarm_email != null || length(var.alarm_topic_arns) > 0
    error_message = "monthly_budget_usd needs an alarm_email or an alarm_topic_arns: somebody has to be told."
  }
}

variable "access_logs_bucket" {
  description = "S3 bucket for the load balancer's access logs, with a policy that lets it write; null: none."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Refuse to delete the load balancer, and with it the deployment."
  type        = bool
  default     = false
  nullable    = false
}

variable "tags" {
  description = "Tags of everything, such as CostCenter; Deployment and ManagedBy are added."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "cluster_name" {
  description = "Name of the cluster, prefix of every other name, and the value of the tag Deployment. Changing it replaces everything."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.cluster_name))
    error_message = "cluster_name must be 3 to 24 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen."
  }
}

variable "region" {
  description = "AWS region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the name of an AWS region, such as us-east-1."
  }
}

variable "kubernetes_version" {
  description = "Version of Kubernetes. One minor version at a time, and none back."
  type        = string
  default     = "1.36"

  validation {
    condition     = can(regex("^1\\.(3[3-9]|[4-9][0-9])$", var.kubernetes_version))
    error_message = "kubernetes_version must be 1.33 or later, such as 1.36."
  }
}

variable "availability_zones" {
  description = "Zones of the subnets, two or more: take those that offer your GPUs (docs/deploy-eks.md). Adding one at the end leaves the others alone."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 2 && length(var.availability_zones) <= 6 && length(distinct(var.availability_zones)) == length(var.availability_zones)
    error_message = "availability_zones must be two to six different zones: the control plane and the load balancer need two."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC; pods have addresses of it. Within 10.0.0.0/8, which the network policies of deployment/kuberay know."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(regex("^10\\.[0-9]+\\.[0-9]+\\.[0-9]+/1[6-8]$", var.vpc_cidr)) && can(cidrhost(var.vpc_cidr, 0))
    error_message = "vpc_cidr must be a network of /16 to /18 within 10.0.0.0/8."
  }
}

variable "public_access_cidrs" {
  description = "Who may reach the cluster's API server from outside of the VPC; empty: nobody, its endpoint is private."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.public_access_cidrs : can(cidrhost(cidr, 0)) && try(tonumber(split("/", cidr)[1]), 0) >= 8])
    error_message = "public_access_cidrs must be networks of /8 or smaller: not the whole internet."
  }
}

variable "administrators" {
  description = "ARNs of the IAM roles and users that administer the cluster. The one that runs terraform must be among them, or install.sh may do nothing."
  type        = set(string)

  validation {
    condition     = length(var.administrators) > 0 && alltrue([for arn in var.administrators : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/", arn))])
    error_message = "administrators must be ARNs of IAM roles or users; of an assumed role that of the role itself."
  }
}

variable "models_bucket" {
  description = "Name of the S3 bucket with the models."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.models_bucket))
    error_message = "models_bucket must be the name of an S3 bucket."
  }
}

variable "models_prefix" {
  description = "Prefix in the bucket that the service may read."
  type        = string
  default     = "models"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$", var.models_prefix))
    error_message = "models_prefix must be names joined by /, without one at its ends."
  }
}

variable "training_prefix" {
  description = "Prefix in the bucket that trainings may read and write: pictures, checkpoints, results."
  type        = string
  default     = "training"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$", var.training_prefix))
    error_message = "training_prefix must be names joined by /, without one at its ends."
  }
}

variable "create_bucket" {
  description = "Create the bucket, private and encrypted; false: it exists."
  type        = bool
  default     = false
}

variable "system_instance_types" {
  description = "Instance types of the managed nodes, for operators, Ray's head and the site; x86."
  type        = list(string)
  default     = ["m7i.xlarge", "m6i.xlarge"]

  validation {
    condition     = length(var.system_instance_types) > 0 && alltrue([for type in var.system_instance_types : can(regex("^[a-z0-9-]+\\.[a-z0-9]+$", type)) && !can(regex("^[a-z]+[0-9]+[a-z]*g[a-z]*\\.", type))])
    error_message = "system_instance_types must be types such as m7i.xlarge, with x86 processors."
  }
}

variable "system_nodes" {
  description = "Number of the managed nodes; two or more, so that one may go."
  type        = number
  default     = 3

  validation {
    condition     = var.system_nodes >= 2 && var.system_nodes <= 20 && floor(var.system_nodes) == var.system_nodes
    error_message = "system_nodes must be a whole number from 2 to 20."
  }
}

variable "log_retention_days" {
  description = "Days for which the control plane's logs are kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days must be one of CloudWatch's, such as 30, 90 or 365."
  }
}

variable "deletion_protection" {
  description = "Keep the repository's images and the bucket's files from being deleted with the rest."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of everything, beside Deployment and ManagedBy."
  type        = map(string)
  default     = {}
}

# What the variables refuse. A run takes one bad value of each variable, as runs take seconds;
# where a rule looks at another variable, that one is good.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  deployment_name = "pictures"
  image_uri       = "123456789012.dkr.ecr.us-east-1.amazonaws.com/stable-diffusion:0.1.0"
  allowed_cidrs   = ["203.0.113.0/24"]
  api_keys        = "ssm:/pictures/api-keys"
}

run "refuses_first" {
  command = plan

  variables {
    deployment_name                = "a-name-that-is-longer-than-24"
    image_uri                      = "example.com/stable-diffusion:0.1.0"
    environment                    = { SD_MODELS = "a\nSD_DRAIN=0" }
    secrets_kms_key_arn            = "alias/mine"
    model_source                   = "s3://models"
    deadline_seconds               = 3600
    drain_seconds                  = -1
    instance_type                  = "g5g.xlarge"
    ami_id                         = "amazon-linux"
    root_volume_gb                 = 100
    min_size                       = 0
    jobs_per_instance              = 0
    on_demand_base                 = 0.5
    schedule                       = { stop = "20:00", start = "0 6 * * *" }
    refresh_min_healthy_percentage = 101
    start_timeout_seconds          = 60
    domain_name                    = "https://pictures.example.com"
    vpc_id                         = "vpc-0123456789abcdef0"
    instance_subnet_ids            = ["subnet-a"]
    vpc_cidr                       = "10.0.0.0/24"
    egress                         = "proxy"
    log_retention_days             = 31
    alarm_email                    = "ops"
    alarm_topic_arns               = ["ops"]
    api_keys                       = "hunter2"
    availability_zones             = ["us-east-1a"]
    dns_server_cidrs               = ["10.7.0.2"]
    flow_logs_bucket_arn           = "logs"
    iam_path                       = "services"
    kms_key_arn                    = "alias/mine"
    max_failed_boots               = -1
    max_instance_days              = 0
    permissions_boundary_arn       = "boundary"
    web_acl_arn                    = "pictures"
  }

  expect_failures = [
    var.alarm_email,
    var.alarm_topic_arns,
    var.ami_id,
    var.api_keys,
    var.availability_zones,
    var.deadline_seconds,
    var.deployment_name,
    var.dns_server_cidrs,
    var.domain_name,
    var.drain_seconds,
    var.egress,
    var.environment,
    var.flow_logs_bucket_arn,
    var.iam_path,
    var.instance_type,
    var.jobs_per_instance,
    var.kms_key_arn,
    var.load_balancer_subnet_ids,
    var.log_retention_days,
    var.max_failed_boots,
    var.max_instance_days,
    var.min_size,
    var.model_source,
    var.on_demand_base,
    var.permissions_boundary_arn,
    var.refresh_min_healthy_percentage,
    var.root_volume_gb,
    var.schedule,
    var.secrets_kms_key_arn,
    var.start_timeout_seconds,
    var.vpc_cidr,
    var.web_acl_arn,
  ]
}

run "refuses_second" {
  command = plan

  variables {
    deployment_name     = "Pictures"
    image_uri           = "example.com/stable-diffusion"
    environment         = { SD_DEADLINE = "9" }
    instance_type       = "g4ad.xlarge"
    min_size            = 3
    allowed_cidrs       = []
    zone_id             = "Z0"
    instance_subnet_ids = ["subnet-a"]
    monthly_budget_usd  = 0
  }

  expect_failures = [
    var.allowed_cidrs,
    var.deployment_name,
    var.environment,
    var.image_uri,
    var.instance_subnet_ids,
    var.instance_type,
    var.max_size,
    var.monthly_budget_usd,
    var.zone_id,
  ]
}

run "refuses_third" {
  command = plan

  variables {
    image_uri                  = "example.com/stable-diffusion:latest"
    secrets                    = { SD_API_KEYS = "hunter2" }
    alternative_instance_types = ["g5"]
    allowed_cidrs              = ["0.0.0.0/0"]
    vpc_id                     = "default"
    load_balancer_subnet_ids   = ["subnet-a", "subnet-b"]
    instance_subnet_ids        = ["subnet-c"]
  }

  expect_failures = [
    var.allowed_cidrs,
    var.alternative_instance_types,
    var.image_uri,
    var.secrets,
    var.vpc_id,
  ]
}

run "refuses_fourth" {
  command = plan

  variables {
    image_uri     = "example.com/stable-diffusion:$(reboot)"
    secrets       = { SD_API_KEYS = "ssm:/a;reboot" }
    instance_type = "g7e.2xlarge"
    allowed_cidrs = ["0.0.0.0/1", "128.0.0.0/1"]
  }

  expect_failures = [
    var.allowed_cidrs,
    var.image_uri,
    var.instance_type,
    var.secrets,
  ]
}

run "refuses_fifth" {
  command = plan

  variables {
    environment        = { HF_TOKEN = "x" }
    secrets            = { HF_TOKEN = "ssm:/a" }
    enable_gpus        = false
    certificate_arn    = "arn:aws:iam::123456789012:server-certificate/mine"
    monthly_budget_usd = 700
  }

  expect_failures = [
    var.certificate_arn,
    var.enable_gpus,
    var.monthly_budget_usd,
    var.secrets,
  ]
}

run "refuses_sixth" {
  command = plan

  variables {
    alternative_instance_types = ["m7i.xlarge"]
    environment                = { SD_API_KEYS = "x" }
  }

  expect_failures = [
    var.enable_gpus,
    var.environment,
  ]
}

# Where it is the AMI, the zones or the region that do not fit.

run "refuses_ubuntu" {
  command = plan

  variables {
    ami_id = "ami-0123456789abcdef0"
  }

  override_data {
    target = data.aws_ami.this
    values = {
      id                  = "ami-0123456789abcdef0"
      name                = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20261120"
      architecture        = "x86_64"
      root_device_name    = "/dev/sda1"
      root_device_type    = "ebs"
      virtualization_type = "hvm"
    }
  }

  expect_failures = [aws_launch_template.this]
}

run "refuses_user_data_that_is_too_long" {
  command = plan

  variables {
    # Little to be made shorter: hashes.
    environment = { for index in range(400) : "SD_${index}" => sha256(index) }
  }

  expect_failures = [aws_launch_template.this]
}

run "refuses_to_be_without_keys_by_oversight" {
  command = plan

  variables {
    api_keys = null
  }

  expect_failures = [aws_autoscaling_group.this]
}

run "refuses_zones_of_another_region" {
  command = plan

  variables {
    availability_zones = ["us-east-1a", "us-east-1z"]
  }

  expect_failures = [aws_vpc.this]
}

run "refuses_a_certificate_of_another_region" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/0123"
  }

  expect_failures = [aws_lb.this]
}

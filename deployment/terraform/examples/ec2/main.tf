# A deployment. What is not here has a default; modules/ec2-service/variables.tf has all there is.

module "service" {
  source = "../../modules/ec2-service"

  deployment_name = var.deployment_name
  image_uri       = var.image_uri
  allowed_cidrs   = var.allowed_cidrs
  # aws ssm put-parameter --type SecureString --name /pictures/api-keys --value file://keys.json
  api_keys = var.api_keys

  certificate_arn = var.certificate_arn
  domain_name     = var.domain_name
  zone_id         = var.zone_id

  alarm_email        = var.alarm_email
  monthly_budget_usd = var.monthly_budget_usd

  instance_type              = "g6.xlarge"
  alternative_instance_types = ["g5.xlarge"]
  min_size                   = 1
  max_size                   = 2

  environment = {
    SD_LOG_LEVEL = "INFO"
  }
}

module "repository" {
  source = "../terraform/modules/image-repository"

  name         = local.name
  kms_key_arn  = aws_kms_key.this.arn
  force_delete = !var.deletion_protection
  tags         = local.tags
}

moved {
  from = aws_ecr_repository.this
  to   = module.repository.aws_ecr_repository.this
}

moved {
  from = aws_ecr_lifecycle_policy.this
  to   = module.repository.aws_ecr_lifecycle_policy.this
}

mock_provider "aws" {}

variables {
  name = "stable-diffusion"
}

run "by_default" {
  command = plan

  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push && !aws_ecr_repository.this.force_delete
    error_message = "images are scanned, do not move, and do not go by oversight"
  }

  assert {
    condition     = [for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : rule.selection.tagStatus] == ["untagged"]
    error_message = "nothing that has a tag expires: it may be what runs"
  }
}

run "with_a_key" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/0123"
  }

  assert {
    condition     = aws_ecr_repository.this.encryption_configuration[0].encryption_type == "KMS"
    error_message = "images are encrypted with it"
  }
}

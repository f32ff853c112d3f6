data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  name = var.deployment_name
  tags = merge({ ManagedBy = "terraform" }, var.tags, { Deployment = var.deployment_name })

  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition

  port = 3000

  # null for an image of another registry, which has to be public
  ecr = one(regexall("^(?P<account>[0-9]{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.amazonaws\\.com/(?P<repository>[^:@]+)", var.image_uri))

  # The service responds with 504 at the deadline; what waits for it must wait longer.
  patience = var.deadline_seconds + 60

  endpoint = format(
    "%s://%s",
    var.certificate_arn == null ? "http" : "https",
    coalesce(var.domain_name, aws_lb.this.dns_name),
  )
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

locals {
  name = var.deployment_name
  # IAM and CloudWatch's dashboards know no regions: two of them may have a deployment of one name.
  global_name = "${var.deployment_name}-${local.region}"
  tags        = merge({ ManagedBy = "terraform" }, var.tags, { Deployment = var.deployment_name })

  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  # Its name, in all versions of the provider.
  region = data.aws_region.this.id

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

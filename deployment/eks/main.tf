data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  name = var.cluster_name
  tags = merge({ ManagedBy = "terraform" }, var.tags, { Deployment = var.cluster_name })

  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition

  # Where the service's pods are (deployment/kuberay).
  namespace       = "stable-diffusion"
  service_account = "stable-diffusion"
}

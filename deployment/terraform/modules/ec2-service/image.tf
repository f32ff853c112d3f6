# The AMI: Amazon Linux 2023, which the programs of an instance are written for.

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0

  name = (
    var.enable_gpus
    ? "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
    : "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
  )
}

data "aws_ami" "this" {
  # The number of an AMI is no secret.
  filter {
    name   = "image-id"
    values = [var.ami_id == null ? nonsensitive(data.aws_ssm_parameter.ami[0].value) : var.ami_id]
  }

  include_deprecated = true
}

locals {
  ami = data.aws_ami.this
  # What the AMI says of itself; one of yours keeps "al2023" in its name or description.
  amazon_linux = anytrue([
    for text in [local.ami.name, local.ami.description] : can(regex("(?i)al2023|amazon.linux.2023", coalesce(text, "none")))
  ])
  # A volume can be larger than the snapshot that it is made of, not smaller.
  ami_volume_gb = max(0, [
    for device in local.ami.block_device_mappings :
    try(tonumber(device.ebs.volume_size), 0) if device.device_name == local.ami.root_device_name
  ]...)
}

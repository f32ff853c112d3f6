# The managed nodes: operators, Ray's head and the site. Engines have Karpenter's.

resource "aws_launch_template" "system" {
  name = "${local.name}-system"

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type = "gp3"
      # The image of the service is several gigabytes, and during an upgrade there are two.
      volume_size           = 100
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { Name = "${local.name}-system" })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = local.tags
  }
}

resource "aws_eks_node_group" "system" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "system"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [for subnet in aws_subnet.private : subnet.id]
  instance_types  = var.system_instance_types
  ami_type        = "AL2023_x86_64_STANDARD"

  labels = { "stable-diffusion/pool" = "system" }

  launch_template {
    id      = aws_launch_template.system.id
    version = aws_launch_template.system.latest_version
  }

  scaling_config {
    desired_size = var.system_nodes
    min_size     = 2
    max_size     = var.system_nodes + 1
  }

  update_config {
    max_unavailable = 1
  }

  depends_on = [aws_iam_role_policy_attachment.node, aws_eks_addon.this["vpc-cni"], aws_eks_addon.this["kube-proxy"]]
}

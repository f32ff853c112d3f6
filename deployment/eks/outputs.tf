# What install.sh reads.

output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "region" {
  description = "Region of the cluster."
  value       = var.region
}

output "vpc_id" {
  description = "The VPC, for the load balancer controller."
  value       = aws_vpc.this.id
}

output "interruption_queue" {
  description = "Name of the queue that Karpenter reads."
  value       = aws_sqs_queue.interruptions.name
}

output "engine_node_role" {
  description = "Name of the role of Karpenter's nodes."
  value       = aws_iam_role.engine_node.name
}

output "repository_url" {
  description = "Where the image is pushed to."
  value       = module.repository.url
}

output "model_source" {
  description = "SD_MODEL_SOURCE."
  value       = "s3://${var.models_bucket}/${var.models_prefix}"
}

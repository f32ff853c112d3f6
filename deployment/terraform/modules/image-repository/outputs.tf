output "url" {
  description = "Of the repository, to push to: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME."
  value       = aws_ecr_repository.this.repository_url
}

output "arn" {
  description = "Of the repository."
  value       = aws_ecr_repository.this.arn
}

output "name" {
  description = "Of the repository."
  value       = aws_ecr_repository.this.name
}

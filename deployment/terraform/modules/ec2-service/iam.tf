# What an instance may do, and nothing else.

locals {
  secret_names = {
    for kind in ["ssm", "secretsmanager"] :
    kind => distinct([
      for source in concat(values(var.secrets), compact([var.api_keys])) : split(":", source)[1] if split(":", source)[0] == kind
    ])
  }

  # Bucket and prefix, or nothing.
  models = regexall("^s3://(?P<bucket>[^/]+)/(?P<prefix>.+?)/?$", coalesce(var.model_source, "none"))

  # By their Sid. Those without resources are left out.
  permissions = {
    RegistryLogin = {
      # There is no way to narrow this one down.
      actions   = ["ecr:GetAuthorizationToken"]
      resources = local.ecr == null ? [] : ["*"]
    }
    PullImage = {
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = local.ecr == null ? [] : ["arn:${local.partition}:ecr:${local.ecr.region}:${local.ecr.account}:repository/${local.ecr.repository}"]
    }
    ListModels = {
      actions   = ["s3:ListBucket"]
      resources = [for models in local.models : "arn:${local.partition}:s3:::${models.bucket}"]
      condition = { StringLike = { "s3:prefix" = [for models in local.models : "${models.prefix}/*"] } }
    }
    ReadModels = {
      actions   = ["s3:GetObject"]
      resources = [for models in local.models : "arn:${local.partition}:s3:::${models.bucket}/${models.prefix}/*"]
    }
    ReadParameters = {
      actions   = ["ssm:GetParameter"]
      resources = [for name in local.secret_names.ssm : "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter/${trimprefix(name, "/")}"]
    }
    ReadSecrets = {
      actions = ["secretsmanager:GetSecretValue"]
      # Secrets Manager adds six characters to the name.
      resources = [for name in local.secret_names.secretsmanager : "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:${name}-??????"]
    }
    DecryptSecrets = {
      actions   = ["kms:Decrypt"]
      resources = var.secrets_kms_key_arn == null ? [] : [var.secrets_kms_key_arn]
    }
    WriteLogs = {
      actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      resources = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"]
    }
    WriteMetrics = {
      actions   = ["cloudwatch:PutMetricData"]
      resources = ["*"]
      condition = { StringEquals = { "cloudwatch:namespace" = [local.metrics_namespace] } }
    }
    # The managed policy for this would also let it read every parameter of the account.
    OpenSession = {
      actions = [
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ]
      resources = ["*"]
    }
    # Itself: that it is ready, has ended its work, or does not get ready. The last two are the brake on
    # boots that fail again and again.
    ReportToGroup = {
      actions = [
        "autoscaling:CompleteLifecycleAction",
        "autoscaling:SetInstanceHealth",
        "autoscaling:RollbackInstanceRefresh",
        "autoscaling:SuspendProcesses",
      ]
      resources = ["arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${local.name}"]
    }
    # Lists know no resources.
    LookAround = {
      actions   = ["autoscaling:DescribeScalingActivities", "elasticloadbalancing:DescribeTargetGroups"]
      resources = ["*"]
    }
    LeaveLoadBalancer = {
      actions   = ["elasticloadbalancing:DeregisterTargets"]
      resources = ["arn:${local.partition}:elasticloadbalancing:${local.region}:${local.account}:targetgroup/${local.target_group}/*"]
    }
  }
}

resource "aws_iam_role" "instance" {
  name                 = "${local.global_name}-instance"
  path                 = var.iam_path
  description          = "Instances of ${local.name}"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })

  tags = local.tags
}

resource "aws_iam_role_policy" "instance" {
  name = local.name
  role = aws_iam_role.instance.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for sid, permission in local.permissions : merge(
        { Sid = sid, Effect = "Allow", Action = permission.actions, Resource = permission.resources },
        try({ Condition = permission.condition }, {}),
      ) if length(permission.resources) > 0
    ]
  })
}

resource "aws_iam_instance_profile" "instance" {
  name = "${local.global_name}-instance"
  path = var.iam_path
  role = aws_iam_role.instance.name

  tags = local.tags
}

# Permissions of pods, by their Sid.

locals {
  ec2_arn    = "arn:${local.partition}:ec2:${var.region}"
  bucket_arn = "arn:${local.partition}:s3:::${var.models_bucket}"

  owned        = "kubernetes.io/cluster/${local.name}"
  with_pool    = { StringLike = { "aws:RequestTag/karpenter.sh/nodepool" = "*" } }
  asked_owned  = { "aws:RequestTag/${local.owned}" = "owned", "aws:RequestTag/eks:eks-cluster-name" = local.name }
  tagged_owned = { "aws:ResourceTag/${local.owned}" = "owned" }
  made_here    = { "aws:ResourceTag/${local.owned}" = "owned", "aws:ResourceTag/topology.kubernetes.io/region" = var.region }

  # As Karpenter's own CloudFormation template has them for v1: it changes what it has made itself,
  # which it knows by tags.
  karpenter_permissions = {
    AccessInstances = {
      actions = ["ec2:CreateFleet", "ec2:RunInstances"]
      resources = [
        "${local.ec2_arn}::image/*", "${local.ec2_arn}::snapshot/*", "${local.ec2_arn}:*:capacity-reservation/*",
        "${local.ec2_arn}:*:security-group/*", "${local.ec2_arn}:*:subnet/*",
      ]
    }
    AccessLaunchTemplates = {
      actions   = ["ec2:CreateFleet", "ec2:RunInstances"]
      resources = ["${local.ec2_arn}:*:launch-template/*"]
      condition = { StringEquals = local.tagged_owned, StringLike = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" } }
    }
    StartWithTags = {
      actions = ["ec2:CreateFleet", "ec2:CreateLaunchTemplate", "ec2:RunInstances"]
      resources = [for kind in ["fleet", "instance", "launch-template", "network-interface", "spot-instances-request", "volume"] :
      "${local.ec2_arn}:*:${kind}/*"]
      condition = merge(local.with_pool, { StringEquals = local.asked_owned })
    }
    TagOnCreation = {
      actions = ["ec2:CreateTags"]
      resources = [for kind in ["fleet", "instance", "launch-template", "network-interface", "spot-instances-request", "volume"] :
      "${local.ec2_arn}:*:${kind}/*"]
      condition = merge(local.with_pool, {
        StringEquals = merge(local.asked_owned, { "ec2:CreateAction" = ["CreateFleet", "CreateLaunchTemplate", "RunInstances"] })
      })
    }
    TagInstances = {
      actions   = ["ec2:CreateTags"]
      resources = ["${local.ec2_arn}:*:instance/*"]
      condition = {
        StringEquals                = local.tagged_owned
        StringLike                  = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
        StringEqualsIfExists        = { "aws:RequestTag/eks:eks-cluster-name" = local.name }
        "ForAllValues:StringEquals" = { "aws:TagKeys" = ["Name", "eks:eks-cluster-name", "karpenter.sh/nodeclaim"] }
      }
    }
    Delete = {
      actions   = ["ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"]
      resources = ["${local.ec2_arn}:*:instance/*", "${local.ec2_arn}:*:launch-template/*"]
      condition = { StringEquals = local.tagged_owned, StringLike = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" } }
    }
    # Descriptions know no resource.
    Describe = {
      actions = [
        "ec2:DescribeCapacityReservations", "ec2:DescribeImages", "ec2:DescribeInstanceStatus", "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeInstanceTypes", "ec2:DescribeInstances", "ec2:DescribeLaunchTemplates", "ec2:DescribePlacementGroups",
        "ec2:DescribeSecurityGroups", "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets",
      ]
      resources = ["*"]
      condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
    }
    ReadImageNames = {
      actions   = ["ssm:GetParameter"]
      resources = ["arn:${local.partition}:ssm:${var.region}::parameter/aws/service/*"]
    }
    ReadPrices = {
      actions   = ["pricing:GetProducts"]
      resources = ["*"]
    }
    ReadInterruptions = {
      actions   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
      resources = [aws_sqs_queue.interruptions.arn]
    }
    DecryptInterruptions = {
      actions   = ["kms:Decrypt"]
      resources = [aws_kms_key.this.arn]
    }
    PassNodeRole = {
      actions   = ["iam:PassRole"]
      resources = [aws_iam_role.engine_node.arn]
      condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
    }
    CreateProfiles = {
      actions   = ["iam:CreateInstanceProfile"]
      resources = ["arn:${local.partition}:iam::${local.account}:instance-profile/*"]
      condition = {
        StringEquals = merge(local.asked_owned, { "aws:RequestTag/topology.kubernetes.io/region" = var.region })
        StringLike   = { "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass" = "*" }
      }
    }
    TagProfiles = {
      actions   = ["iam:TagInstanceProfile"]
      resources = ["arn:${local.partition}:iam::${local.account}:instance-profile/*"]
      condition = {
        StringEquals = merge(local.made_here, local.asked_owned, { "aws:RequestTag/topology.kubernetes.io/region" = var.region })
        StringLike = {
          "aws:RequestTag/karpenter.k8s.aws/ec2nodeclass"  = "*"
          "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*"
        }
      }
    }
    ChangeProfiles = {
      actions   = ["iam:AddRoleToInstanceProfile", "iam:DeleteInstanceProfile", "iam:RemoveRoleFromInstanceProfile"]
      resources = ["arn:${local.partition}:iam::${local.account}:instance-profile/*"]
      condition = {
        StringEquals = local.made_here
        StringLike   = { "aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass" = "*" }
      }
    }
    ReadProfiles = {
      actions   = ["iam:GetInstanceProfile"]
      resources = ["arn:${local.partition}:iam::${local.account}:instance-profile/*"]
    }
    ListProfiles = {
      actions   = ["iam:ListInstanceProfiles"]
      resources = ["*"]
    }
    FindCluster = {
      actions   = ["eks:DescribeCluster"]
      resources = [aws_eks_cluster.this.arn]
    }
  }

  models_permissions = {
    ListModels = {
      actions   = ["s3:ListBucket"]
      resources = [local.bucket_arn]
      condition = { StringLike = { "s3:prefix" = ["${var.models_prefix}/*"] } }
    }
    ReadModels = {
      actions   = ["s3:GetObject"]
      resources = ["${local.bucket_arn}/${var.models_prefix}/*"]
    }
    DecryptModels = {
      actions   = ["kms:Decrypt"]
      resources = [aws_kms_key.this.arn]
    }
  }

  # deployment/kuberay/training: bases and pictures, checkpoints, and what comes of them.
  training_permissions = merge(local.models_permissions, {
    ListTraining = {
      actions   = ["s3:ListBucket"]
      resources = [local.bucket_arn]
      condition = { StringLike = { "s3:prefix" = ["${var.training_prefix}/*"] } }
    }
    ReadAndWriteRuns = {
      actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      resources = ["${local.bucket_arn}/${var.training_prefix}/*"]
    }
    WriteModels = {
      actions   = ["s3:AbortMultipartUpload", "s3:PutObject"]
      resources = ["${local.bucket_arn}/${var.models_prefix}/*"]
    }
    EncryptRuns = {
      actions   = ["kms:GenerateDataKey"]
      resources = [aws_kms_key.this.arn]
    }
  })
}

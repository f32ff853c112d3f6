# Who may do what in AWS. Pods get their roles by EKS Pod Identity, by namespace and service account.

locals {
  node_policies = [
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonSSMManagedInstanceCore",
  ]

  # The managed nodes and Karpenter's have a role each: EKS itself lets the first into the cluster,
  # and the access entry below the second.
  node_roles = { node = aws_iam_role.node.name, engine = aws_iam_role.engine_node.name }

  node_attachments = merge([
    for key, role in local.node_roles : {
      for policy in local.node_policies : "${key}-${policy}" => { role = role, policy = policy }
    }
  ]...)

  # By the name of the role. permissions: by their Sid, written in permissions.tf; managed: AWS's own.
  pods = {
    karpenter = { namespace = "kube-system", service_account = "karpenter", permissions = local.karpenter_permissions }
    balancer  = { namespace = "kube-system", service_account = "aws-load-balancer-controller", permissions = local.balancer_permissions }
    models    = { namespace = local.namespace, service_account = local.service_account, permissions = local.models_permissions }
    training  = { namespace = local.namespace, service_account = "training", permissions = local.training_permissions }
    disks     = { namespace = "kube-system", service_account = "ebs-csi-controller-sa", permissions = {} }
  }
}

resource "aws_iam_role" "cluster" {
  name_prefix = "${local.name}-cluster-"
  description = "Control plane of ${local.name}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "eks.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "node" {
  name_prefix = "${local.name}-node-"
  description = "Managed nodes of ${local.name}"

  assume_role_policy = local.assumed_by_instances
}

# Its name is in the EC2NodeClass.
resource "aws_iam_role" "engine_node" {
  name        = "${local.name}-${var.region}-engine-node"
  description = "Nodes that Karpenter starts for ${local.name}"

  assume_role_policy = local.assumed_by_instances
}

locals {
  assumed_by_instances = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = local.node_attachments

  role       = each.value.role
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.value.policy}"
}

resource "aws_eks_access_entry" "engine_node" {
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_iam_role.engine_node.arn
  type          = "EC2_LINUX"
}

resource "aws_iam_role" "pod" {
  for_each = local.pods

  name_prefix = "${local.name}-${each.key}-"
  description = "Pods of ${each.value.namespace}/${each.value.service_account} in ${local.name}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnEquals    = { "aws:SourceArn" = "arn:${local.partition}:eks:${var.region}:${local.account}:cluster/${local.name}" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "pod" {
  for_each = { for name, pod in local.pods : name => pod.permissions if length(pod.permissions) > 0 }

  name = local.name
  role = aws_iam_role.pod[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for sid, permission in each.value : merge(
        { Sid = sid, Effect = "Allow", Action = permission.actions, Resource = permission.resources },
        try({ Condition = permission.condition }, {}),
      )
    ]
  })
}

resource "aws_iam_role_policy_attachment" "disks" {
  role       = aws_iam_role.pod["disks"].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}

resource "aws_eks_pod_identity_association" "this" {
  for_each = local.pods

  cluster_name    = aws_eks_cluster.this.name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.pod[each.key].arn
}

# What the AWS Load Balancer Controller may do: as its own policy has it, less what we do not use
# (web application firewall, Shield, Cognito, Global Accelerator, IPAM).

locals {
  balancer_tag = "elbv2.k8s.aws/cluster"
  elb_arn      = "arn:${local.partition}:elasticloadbalancing:${var.region}:${local.account}"
  balancers    = ["${local.elb_arn}:loadbalancer/app/*/*", "${local.elb_arn}:targetgroup/*/*"]
  listeners    = ["${local.elb_arn}:listener/app/*/*/*", "${local.elb_arn}:listener-rule/app/*/*/*"]
  groups       = "${local.ec2_arn}:*:security-group/*"

  balancer_permissions = {
    # Descriptions know no resource.
    Describe = {
      actions = [
        "acm:DescribeCertificate", "acm:ListCertificates",
        "ec2:DescribeAccountAttributes", "ec2:DescribeAddresses", "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances",
        "ec2:DescribeInternetGateways", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DescribeVpcPeeringConnections", "ec2:DescribeVpcs",
        "elasticloadbalancing:DescribeCapacityReservation", "elasticloadbalancing:DescribeListenerAttributes",
        "elasticloadbalancing:DescribeListenerCertificates", "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeLoadBalancerAttributes", "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeSSLPolicies", "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeTrustStores",
      ]
      resources = ["*"]
      condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
    }
    CreateGroups = {
      actions   = ["ec2:CreateSecurityGroup"]
      resources = ["${local.ec2_arn}:*:security-group/*", aws_vpc.this.arn]
    }
    TagNewGroups = {
      actions   = ["ec2:CreateTags"]
      resources = [local.groups]
      condition = {
        StringEquals = { "ec2:CreateAction" = "CreateSecurityGroup", "aws:RequestTag/${local.balancer_tag}" = local.name }
      }
    }
    ChangeOwnGroups = {
      actions = [
        "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateTags", "ec2:DeleteSecurityGroup", "ec2:DeleteTags",
        "ec2:RevokeSecurityGroupIngress",
      ]
      resources = [local.groups]
      condition = { StringEquals = { "aws:ResourceTag/${local.balancer_tag}" = local.name } }
    }
    # That of the nodes and pods: the load balancer is let in.
    OpenClusterGroup = {
      actions   = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
      resources = [local.groups]
      condition = { StringEquals = { "aws:ResourceTag/kubernetes.io/cluster/${local.name}" = "owned" } }
    }
    CreateBalancers = {
      actions   = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"]
      resources = local.balancers
      condition = { StringEquals = { "aws:RequestTag/${local.balancer_tag}" = local.name } }
    }
    TagNewBalancers = {
      actions   = ["elasticloadbalancing:AddTags"]
      resources = local.balancers
      condition = {
        StringEquals = {
          "elasticloadbalancing:CreateAction"    = ["CreateLoadBalancer", "CreateTargetGroup"]
          "aws:RequestTag/${local.balancer_tag}" = local.name
        }
      }
    }
    ChangeOwnBalancers = {
      actions = [
        "elasticloadbalancing:AddTags", "elasticloadbalancing:CreateListener", "elasticloadbalancing:DeleteLoadBalancer",
        "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:DeregisterTargets",
        "elasticloadbalancing:ModifyLoadBalancerAttributes", "elasticloadbalancing:ModifyTargetGroup",
        "elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:RegisterTargets",
        "elasticloadbalancing:RemoveTags", "elasticloadbalancing:SetIpAddressType", "elasticloadbalancing:SetSecurityGroups",
        "elasticloadbalancing:SetSubnets",
      ]
      resources = local.balancers
      condition = { StringEquals = { "aws:ResourceTag/${local.balancer_tag}" = local.name } }
    }
    ChangeListeners = {
      actions = [
        "elasticloadbalancing:AddListenerCertificates", "elasticloadbalancing:AddTags", "elasticloadbalancing:CreateRule",
        "elasticloadbalancing:DeleteListener", "elasticloadbalancing:DeleteRule", "elasticloadbalancing:ModifyListener",
        "elasticloadbalancing:ModifyListenerAttributes", "elasticloadbalancing:ModifyRule",
        "elasticloadbalancing:RemoveListenerCertificates", "elasticloadbalancing:RemoveTags",
        "elasticloadbalancing:SetRulePriorities",
      ]
      resources = local.listeners
    }
  }
}

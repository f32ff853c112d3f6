# A VPC of two zones: the load balancer in public subnets, the instances in private ones.

data "aws_ec2_instance_type_offerings" "this" {
  count = local.own_vpc ? 1 : 0

  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [var.instance_type]
  }
}

data "aws_vpc" "given" {
  count = local.own_vpc ? 0 : 1

  id = var.vpc_id
}

locals {
  own_vpc = var.vpc_id == null
  nat     = local.own_vpc && var.egress == "nat"
  sealed  = local.own_vpc && var.egress == "endpoints"

  # Not every zone has every type of GPU.
  offered = try(sort(distinct(data.aws_ec2_instance_type_offerings.this[0].locations)), [])
  zones   = slice(local.offered, 0, min(2, length(local.offered)))

  vpc_id = local.own_vpc ? aws_vpc.this[0].id : var.vpc_id
  # Where the load balancer's own addresses are: what it says of clients is believed.
  vpc_cidrs                = local.own_vpc ? [var.vpc_cidr] : data.aws_vpc.given[0].cidr_block_associations[*].cidr_block
  load_balancer_subnet_ids = local.own_vpc ? aws_subnet.public[*].id : var.load_balancer_subnet_ids
  instance_subnet_ids      = local.own_vpc ? aws_subnet.private[*].id : var.instance_subnet_ids

  interface_endpoints = local.sealed ? toset(concat(
    ["autoscaling", "ecr.api", "ecr.dkr", "logs", "monitoring", "ssm", "ssmmessages"],
    length(local.secret_names.secretsmanager) > 0 ? ["secretsmanager"] : [],
  )) : toset([])
}

resource "aws_vpc" "this" {
  count = local.own_vpc ? 1 : 0

  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = local.name }

  lifecycle {
    precondition {
      condition     = length(local.zones) == 2
      error_message = "${var.region} offers ${var.instance_type} in ${length(local.offered)} zone(s), and a load balancer needs two: take another instance_type or region, or bring a VPC (vpc_id)."
    }
  }
}

# Nothing uses it; without rules nothing can.
resource "aws_default_security_group" "this" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id
}

resource "aws_internet_gateway" "this" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = local.name }
}

resource "aws_subnet" "public" {
  count = local.own_vpc ? length(local.zones) : 0

  vpc_id            = aws_vpc.this[0].id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, count.index)

  tags = { Name = "${local.name}-public-${local.zones[count.index]}" }
}

resource "aws_subnet" "private" {
  count = local.own_vpc ? length(local.zones) : 0

  vpc_id            = aws_vpc.this[0].id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, 8 + count.index)

  tags = { Name = "${local.name}-private-${local.zones[count.index]}" }
}

resource "aws_route_table" "public" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${local.name}-public" }
}

resource "aws_route" "internet" {
  count = local.own_vpc ? 1 : 0

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  count = length(aws_subnet.public)

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_route_table" "private" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = "${local.name}-private" }
}

resource "aws_route_table_association" "private" {
  count = length(aws_subnet.private)

  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[0].id
}

# One NAT gateway for both zones: instances need it to start, not to serve.
resource "aws_eip" "nat" {
  count = local.nat ? 1 : 0

  domain = "vpc"

  tags = { Name = "${local.name}-nat" }
}

resource "aws_nat_gateway" "this" {
  count = local.nat ? 1 : 0

  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.public[0].id

  tags = { Name = local.name }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route" "nat" {
  count = local.nat ? 1 : 0

  route_table_id         = aws_route_table.private[0].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[0].id
}

# Free, and the layers of images and the models need not pay for the NAT gateway.
resource "aws_vpc_endpoint" "s3" {
  count = local.own_vpc ? 1 : 0

  vpc_id          = aws_vpc.this[0].id
  service_name    = "com.amazonaws.${var.region}.s3"
  route_table_ids = [aws_route_table.private[0].id]

  tags = { Name = "${local.name}-s3" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.interface_endpoints

  vpc_id              = aws_vpc.this[0].id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints[0].id]

  tags = { Name = "${local.name}-${each.key}" }
}

resource "aws_security_group" "endpoints" {
  count = local.sealed ? 1 : 0

  name        = "${local.name}-endpoints"
  description = "AWS services, for the instances of ${local.name}"
  vpc_id      = local.vpc_id

  tags = { Name = "${local.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count = local.sealed ? 1 : 0

  security_group_id            = aws_security_group.endpoints[0].id
  description                  = "HTTPS from the instances"
  referenced_security_group_id = aws_security_group.instance.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

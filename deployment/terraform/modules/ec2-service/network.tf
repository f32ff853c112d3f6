# A VPC: the load balancer in public subnets, the instances in private ones. Subnets are free, so there
# are some in each zone of the region, whose list hardly changes; which of them are used does.

data "aws_availability_zones" "this" {
  count = local.own_vpc ? 1 : 0

  # Not local zones, nor regions' zones that an account has to ask for.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_ec2_instance_type_offerings" "this" {
  count = local.own_vpc ? 1 : 0

  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = local.instance_types
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

  # By its last letter a zone has its place in the network, whatever other zones there are.
  letters = ["a", "b", "c", "d", "e", "f", "g", "h"]
  subnet_numbers = {
    for zone in try(data.aws_availability_zones.this[0].names, []) :
    zone => index(local.letters, substr(zone, -1, 1)) if contains(local.letters, substr(zone, -1, 1))
  }

  # Not every zone has every type of GPU.
  offered = try(distinct(data.aws_ec2_instance_type_offerings.this[0].locations), [])
  zones = [
    for zone in sort(keys(local.subnet_numbers)) :
    zone if contains(var.availability_zones == null ? local.offered : var.availability_zones, zone)
  ]
  nat_zones = toset(local.nat ? (var.nat_per_zone ? local.zones : slice(sort(keys(local.subnet_numbers)), 0, 1)) : [])

  vpc_id = local.own_vpc ? aws_vpc.this[0].id : var.vpc_id
  # Where the load balancer's own addresses are: what it says of clients is believed.
  vpc_cidrs                = local.own_vpc ? [var.vpc_cidr] : data.aws_vpc.given[0].cidr_block_associations[*].cidr_block
  load_balancer_subnet_ids = local.own_vpc ? [for zone in local.zones : aws_subnet.public[zone].id] : var.load_balancer_subnet_ids
  instance_subnet_ids      = local.own_vpc ? [for zone in local.zones : aws_subnet.private[zone].id] : var.instance_subnet_ids

  interface_endpoints = local.sealed ? toset(concat(
    ["autoscaling", "ecr.api", "ecr.dkr", "elasticloadbalancing", "logs", "monitoring", "ssm", "ssmmessages"],
    length(local.secret_names.secretsmanager) > 0 ? ["secretsmanager"] : [],
  )) : toset([])
}

resource "aws_vpc" "this" {
  count = local.own_vpc ? 1 : 0

  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = merge(local.tags, { Name = local.name })

  lifecycle {
    precondition {
      condition     = length(local.zones) >= 2
      error_message = "${local.region} offers ${join(", ", local.instance_types)} in ${length(local.offered)} zone(s), and of these ${length(local.zones)} can be used (availability_zones); a load balancer needs two: take other types, zones or another region, or bring a VPC (vpc_id)."
    }

    precondition {
      condition     = alltrue([for zone in coalesce(var.availability_zones, []) : contains(keys(local.subnet_numbers), zone)])
      error_message = "availability_zones must be zones of ${local.region}: ${join(", ", keys(local.subnet_numbers))}."
    }
  }
}

# Nothing uses it; without rules nothing can.
resource "aws_default_security_group" "this" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = local.tags
}

resource "aws_flow_log" "this" {
  count = local.own_vpc && var.flow_logs_bucket_arn != null ? 1 : 0

  vpc_id               = aws_vpc.this[0].id
  traffic_type         = "ALL"
  log_destination_type = "s3"
  log_destination      = var.flow_logs_bucket_arn

  tags = merge(local.tags, { Name = local.name })
}

resource "aws_internet_gateway" "this" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = merge(local.tags, { Name = local.name })
}

resource "aws_subnet" "public" {
  for_each = local.own_vpc ? local.subnet_numbers : {}

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, each.value)

  tags = merge(local.tags, { Name = "${local.name}-public-${each.key}" })
}

resource "aws_subnet" "private" {
  for_each = local.own_vpc ? local.subnet_numbers : {}

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, 8 + each.value)

  tags = merge(local.tags, { Name = "${local.name}-private-${each.key}" })
}

resource "aws_route_table" "public" {
  count = local.own_vpc ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = merge(local.tags, { Name = "${local.name}-public" })
}

resource "aws_route" "internet" {
  count = local.own_vpc ? 1 : 0

  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public[0].id
}

# One per zone, so that each may have a NAT gateway of its own.
resource "aws_route_table" "private" {
  for_each = aws_subnet.private

  vpc_id = aws_vpc.this[0].id

  tags = merge(local.tags, { Name = "${local.name}-private-${each.key}" })
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private[each.key].id
}

resource "aws_eip" "nat" {
  for_each = local.nat_zones

  domain = "vpc"

  tags = merge(local.tags, { Name = "${local.name}-nat-${each.key}" })
}

resource "aws_nat_gateway" "this" {
  for_each = local.nat_zones

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id

  tags = merge(local.tags, { Name = "${local.name}-${each.key}" })

  depends_on = [aws_internet_gateway.this]
}

# Instances need the NAT gateway to start, not to serve: one is enough for all zones, unless asked.
resource "aws_route" "nat" {
  for_each = local.nat ? aws_route_table.private : {}

  route_table_id         = each.value.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[contains(local.nat_zones, each.key) ? each.key : sort(local.nat_zones)[0]].id
}

# Free, and the layers of images and the models need not pay for the NAT gateway.
resource "aws_vpc_endpoint" "s3" {
  count = local.own_vpc ? 1 : 0

  vpc_id          = aws_vpc.this[0].id
  service_name    = "com.amazonaws.${local.region}.s3"
  route_table_ids = [for table in aws_route_table.private : table.id]

  tags = merge(local.tags, { Name = "${local.name}-s3" })
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.interface_endpoints

  vpc_id              = aws_vpc.this[0].id
  service_name        = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = local.instance_subnet_ids
  security_group_ids  = [aws_security_group.endpoints[0].id]

  tags = merge(local.tags, { Name = "${local.name}-${each.key}" })
}

resource "aws_security_group" "endpoints" {
  count = local.sealed ? 1 : 0

  name        = "${local.name}-endpoints"
  description = "AWS services, for the instances of ${local.name}"
  vpc_id      = local.vpc_id

  tags = merge(local.tags, { Name = "${local.name}-endpoints" })
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

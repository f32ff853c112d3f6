locals {
  tls = var.certificate_arn != null
  # Of the network, so that another one gets another group before the old one goes.
  target_group = "${local.name}-${substr(sha1(coalesce(var.vpc_id, var.vpc_cidr)), 0, 6)}"
  # With TLS, port 80 only redirects.
  open_ports = toset(local.tls ? ["80", "443"] : ["80"])

  openings = {
    for pair in setproduct(local.open_ports, toset(var.allowed_cidrs)) :
    "${pair[0]} ${pair[1]}" => { port = tonumber(pair[0]), cidr = pair[1] }
  }
}

resource "aws_security_group" "load_balancer" {
  name        = "${local.name}-load-balancer"
  description = "Load balancer of ${local.name}"
  vpc_id      = local.vpc_id

  tags = merge(local.tags, { Name = "${local.name}-load-balancer" })
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = local.openings

  security_group_id = aws_security_group.load_balancer.id
  description       = "Clients"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "to_instances" {
  security_group_id            = aws_security_group.load_balancer.id
  description                  = "The service"
  referenced_security_group_id = aws_security_group.instance.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_lb" "this" {
  name                       = local.name
  load_balancer_type         = "application"
  internal                   = var.internal
  subnets                    = local.load_balancer_subnet_ids
  security_groups            = [aws_security_group.load_balancer.id]
  idle_timeout               = local.patience
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection

  dynamic "access_logs" {
    for_each = var.access_logs_bucket == null ? [] : [var.access_logs_bucket]

    content {
      bucket  = access_logs.value
      prefix  = local.name
      enabled = true
    }
  }

  tags = local.tags

  depends_on = [aws_internet_gateway.this]

  lifecycle {
    precondition {
      condition     = !local.tls || can(regex(":acm:${local.region}:", var.certificate_arn))
      error_message = "certificate_arn must be the ARN of an ACM certificate in ${local.region}."
    }
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count = var.web_acl_arn == null ? 0 : 1

  resource_arn = aws_lb.this.arn
  web_acl_arn  = var.web_acl_arn
}

resource "aws_lb_target_group" "this" {
  name                          = local.target_group
  vpc_id                        = local.vpc_id
  target_type                   = "instance"
  protocol                      = "HTTP"
  port                          = local.port
  load_balancing_algorithm_type = "least_outstanding_requests"
  deregistration_delay          = local.patience

  # Who responds with errors responds fast, and is preferred by the algorithm above: 15 seconds of that.
  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 5
    timeout             = 4
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  tags = local.tags

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "https" {
  count = local.tls ? 1 : 0

  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTPS"
  port              = 443
  certificate_arn   = var.certificate_arn
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }

  tags = local.tags
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTP"
  port              = 80

  default_action {
    type             = local.tls ? "redirect" : "forward"
    target_group_arn = local.tls ? null : aws_lb_target_group.this.arn

    dynamic "redirect" {
      for_each = local.tls ? ["443"] : []

      content {
        protocol    = "HTTPS"
        port        = redirect.value
        status_code = "HTTP_301"
      }
    }
  }

  tags = local.tags
}

# Measurements are for CloudWatch, not for clients.
resource "aws_lb_listener_rule" "metrics" {
  listener_arn = local.tls ? aws_lb_listener.https[0].arn : aws_lb_listener.http.arn
  priority     = 1

  condition {
    path_pattern {
      values = ["/metrics", "/metrics/*"]
    }
  }

  action {
    type = "fixed-response"

    fixed_response {
      content_type = "application/json"
      message_body = jsonencode({ error = { code = "not_found", message = "no such path" } })
      status_code  = "404"
    }
  }

  tags = local.tags
}

resource "aws_route53_record" "this" {
  count = var.zone_id == null ? 0 : 1

  zone_id = var.zone_id
  name    = var.domain_name
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}

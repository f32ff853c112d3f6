# Cloud-config: the files of an instance, and the one command that cloud-init runs at its first boot.

locals {
  # Whether clients need a key. The service does not start without either answer.
  keyed = var.api_keys != null || contains(keys(var.secrets), "SD_API_KEYS")

  settings_folder = "/etc/stable-diffusion"
  program_folder  = "/opt/stable-diffusion"

  # Read by the programs below; every value is of characters that mean nothing to a shell.
  deployment = {
    API_KEYS      = var.api_keys == null ? "" : var.api_keys
    ASG_NAME      = local.name
    AWS_REGION    = local.region
    BOOT_FAILURES = var.max_failed_boots
    GPUS          = var.enable_gpus
    IMAGE         = var.image_uri
    LOG_GROUP     = local.log_group
    MODEL_SOURCE  = var.model_source == null ? "" : trimsuffix(var.model_source, "/")
    PATIENCE      = local.patience
    PORT          = local.port
    REGISTRY      = local.ecr == null ? "" : split("/", var.image_uri)[0]
    REGISTRY_AREA = try(local.ecr.region, "")
    SECRETS       = join(" ", [for name, source in var.secrets : "${name}=${source}"])
    START_SECONDS = var.start_timeout_seconds
    STOP_SECONDS  = local.stop_seconds
    TARGET_GROUP  = local.target_group
  }

  container_environment = merge(
    { SD_LOG_FORMAT = "json", SD_TRUSTED_PROXIES = join(",", local.vpc_cidrs) },
    var.model_source == null ? {} : { SD_MODEL_SOURCE = "/models" },
    var.api_keys == null ? {} : { SD_API_KEYS_FILE = "/run/secrets/api-keys" },
    # From the instance itself, where the CloudWatch agent is: docker's bridge.
    local.keyed ? { SD_METRICS_FROM = "127.0.0.1,172.17.0.1" } : {},
    var.allow_anonymous ? { SD_ALLOW_ANONYMOUS = "true" } : {},
    var.environment,
    {
      SD_DEADLINE = var.deadline_seconds
      SD_DRAIN    = var.drain_seconds
      # The load balancer keeps connections for local.patience, and the service must not be the first
      # to close one.
      SD_KEEP_ALIVE_SECONDS = local.patience + 15
    },
  )

  # Of the service's, by the label that they are told apart by.
  service_metrics = {
    sd_queue_depth                   = "state"
    sd_out_of_memory_total           = ""
    bentoml_api_server_request_total = "http_response_code"
  }

  cloudwatch_agent = {
    agent = { region = local.region }

    logs = {
      force_flush_interval = 5

      logs_collected = {
        files = {
          collect_list = [
            for stream, file in { boot = "cloud-init-output", watch = "stable-diffusion" } : {
              file_path                = "/var/log/${file}.log"
              log_group_name           = local.log_group
              log_stream_name          = "{instance_id}/${stream}"
            }
          ]
        }
      }

      metrics_collected = {
        prometheus = {
          log_group_name         = local.log_group
          prometheus_config_path = "${local.settings_folder}/prometheus.yaml"

          emf_processor = {
            metric_namespace = local.metrics_namespace
            metric_declaration = [
              for metric, label in local.service_metrics : {
                source_labels    = ["job"]
                label_matcher    = "^metrics$"
                metric_selectors = ["^${metric}$"]
                dimensions       = [compact(["AutoScalingGroupName", label])]
              }
            ]
          }
        }
      }
    }
  }

  # Of all instances together: a metric per instance would be paid for, and outlive the instance.
  gpu_measurements = ["utilization_gpu", "memory_used", "memory_total"]

  gpu_metrics = {
    namespace              = local.metrics_namespace
    aggregation_dimensions = [["AutoScalingGroupName"]]

    metrics_collected = {
      nvidia_gpu = {
        measurement           = local.gpu_measurements
        append_dimensions     = local.group
        drop_original_metrics = local.gpu_measurements
      }
    }
  }

  prometheus = {
    global = { scrape_interval = "30s", scrape_timeout = "10s" }

    scrape_configs = [{
      job_name       = "metrics"
      static_configs = [{ targets = ["127.0.0.1:${local.port}"], labels = local.group }]
      # What is scraped is logged, and logs cost.
      metric_relabel_configs = [{
        source_labels = ["__name__", "http_response_code"]
        regex         = "(sd_queue_depth|sd_out_of_memory_total);|bentoml_api_server_request_total;429"
        action        = "keep"
      }]
    }]
  }

  settings_files = {
    "deployment.env"        = join("", [for name, value in local.deployment : "${name}=\"${value}\"\n"])
    "container.env"         = join("", [for name, value in local.container_environment : "${name}=${value}\n"])
    "cloudwatch-agent.json" = jsonencode(merge(local.cloudwatch_agent, var.enable_gpus ? { metrics = local.gpu_metrics } : {}))
    "prometheus.yaml"       = yamlencode(local.prometheus)
  }

  programs = ["boot", "drain", "keys", "run", "secret", "watch"]
  units    = ["stable-diffusion.service", "stable-diffusion-drain.service", "stable-diffusion-watch.service"]

  files = concat(
    [for name, content in local.settings_files : { path = "${local.settings_folder}/${name}", permissions = "0600", content = content }],
    [for name in local.programs : { path = "${local.program_folder}/${name}", permissions = "0755", content = file("${path.module}/instance/${name}.sh") }],
    [for name in local.units : { path = "/etc/systemd/system/${name}", permissions = "0644", content = file("${path.module}/instance/${name}") }],
  )

  user_data = "#cloud-config\n${yamlencode({
    write_files = local.files
    runcmd      = [["${local.program_folder}/boot"]]
  })}"

  user_data_gzip  = base64gzip(local.user_data)
  user_data_bytes = length(local.user_data_gzip) / 4 * 3
}

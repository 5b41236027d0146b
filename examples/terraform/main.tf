# Not run in this repository: check the output of `terraform plan` before you apply it.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

variable "region" {
  type    = string
  default = "us-east-1"
}

variable "policy_file" {
  type        = string
  default     = null
  description = "Output of denclavectl policy render; null before the first image is built"
}

variable "subnet_id" {
  type = string
}

variable "ami_id" {
  type        = string
  description = "Amazon Linux 2023"
}

variable "alarm_email" {
  type        = string
  default     = null
  description = "Who is told about changes of the key; AWS asks this address to confirm"
}

provider "aws" {
  region = var.region
}

data "aws_partition" "current" {}

resource "aws_kms_key" "enclave" {
  description             = "Released to the attested enclave only"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = var.policy_file == null ? null : file("${path.module}/${var.policy_file}")
}

resource "aws_iam_role" "parent" {
  name = "denclave-parent"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

# What denclavectl policy iam prints. The key's own policy decides what KMS returns.
resource "aws_iam_role_policy" "parent" {
  name = "denclave-parent"
  role = aws_iam_role.parent.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "KeysForTheEnclave"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [aws_kms_key.enclave.arn]
      },
      {
        # No UpdateItem, no DeleteItem: rows are added and read.
        Sid      = "AccountsOfTheWallet"
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"]
        Resource = [aws_dynamodb_table.accounts.arn]
      },
    ]
  })
}

# Shells on the instance by Session Manager instead of SSH: no open port, no key pair, and each session is in CloudTrail.
resource "aws_iam_role_policy_attachment" "ssm" {
  role       = aws_iam_role.parent.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "parent" {
  name = "denclave-parent"
  role = aws_iam_role.parent.name
}

resource "aws_instance" "parent" {
  ami                  = var.ami_id
  instance_type        = "m6i.xlarge" # 4 vCPUs, 16 GiB: 2 and 2 for the enclave
  subnet_id            = var.subnet_id
  iam_instance_profile = aws_iam_instance_profile.parent.name

  enclave_options {
    enabled = true
  }

  metadata_options {
    http_tokens = "required"
  }

  root_block_device {
    encrypted = true
  }

  user_data = <<-EOT
    #!/bin/bash
    set -euo pipefail
    dnf install -y aws-nitro-enclaves-cli
    sed -i 's/^memory_mib:.*/memory_mib: 2048/; s/^cpu_count:.*/cpu_count: 2/' /etc/nitro_enclaves/allocator.yaml
    systemctl enable --now nitro-enclaves-allocator.service
  EOT
}

# The accounts of the wallet.
resource "aws_dynamodb_table" "accounts" {
  name         = "AccountTable"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "Name"

  attribute {
    name = "Name"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true # a lost row is a lost account
  }

  deletion_protection_enabled = true
}

# Somebody changes who can use the key, or makes it unusable.
resource "aws_cloudwatch_event_rule" "key_changed" {
  name = "denclave-key-changed"
  event_pattern = jsonencode({
    source      = ["aws.kms"]
    detail-type = ["AWS API Call via CloudTrail"]
    detail = {
      eventName = ["PutKeyPolicy", "CreateGrant", "DisableKey", "ScheduleKeyDeletion"]
      resources = { ARN = [aws_kms_key.enclave.arn] }
    }
  })
}

resource "aws_cloudwatch_event_target" "key_changed" {
  rule = aws_cloudwatch_event_rule.key_changed.name
  arn  = aws_sns_topic.alarms.arn
}

resource "aws_sns_topic" "alarms" {
  name = "denclave-alarms"
}

# Without it EventBridge may not publish, and nobody is told. AWS documents that a Condition in a topic's policy does not work for EventBridge.
resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alarms.arn
    }]
  })
}

resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == null ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

output "key_arn" {
  value = aws_kms_key.enclave.arn
}

output "parent_role_arn" {
  value = aws_iam_role.parent.arn
}

output "connect" {
  value = "aws ssm start-session --target ${aws_instance.parent.id}"
}

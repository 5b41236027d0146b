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

variable "parent_policy_file" {
  type        = string
  default     = null
  description = "Output of denclavectl policy iam; null before the key exists"
}

variable "subnet_id" {
  type = string
}

variable "ami_id" {
  type        = string
  description = "Amazon Linux 2023 with aws-nitro-enclaves-cli"
}

variable "alarm_topic_arn" {
  type        = string
  description = "SNS topic for changes of the key"
}

provider "aws" {
  region = var.region
}

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

resource "aws_iam_role_policy" "parent" {
  count  = var.parent_policy_file == null ? 0 : 1
  name   = "denclave-parent"
  role   = aws_iam_role.parent.id
  policy = file("${path.module}/${var.parent_policy_file}")
}

resource "aws_iam_instance_profile" "parent" {
  name = "denclave-parent"
  role = aws_iam_role.parent.name
}

resource "aws_instance" "parent" {
  ami                  = var.ami_id
  instance_type        = "m6i.xlarge" # 4 vCPUs: 2 for the enclave, 2 for the parent
  subnet_id            = var.subnet_id
  iam_instance_profile = aws_iam_instance_profile.parent.name

  enclave_options {
    enabled = true
  }

  metadata_options {
    http_tokens = "required"
  }
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
    enabled = true # a lost row is a lost key
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
  arn  = var.alarm_topic_arn
}

output "key_arn" {
  value = aws_kms_key.enclave.arn
}

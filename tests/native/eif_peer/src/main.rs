//! Does with AWS's own crate what the tests ask for, and prints what came of it.
//!
//! usage: eif_peer <jobs.json>
//!
//! The file holds an array of jobs, done in their order; on stdout comes an array of results, `{"ok": …}` or `{"error": text}` each.
//! `build` makes an image from files, `describe` reads one and checks its signature.

use aws_nitro_enclaves_image_format::defs::{EifBuildInfo, EifIdentityInfo, EIF_HDR_ARCH_ARM64};
use aws_nitro_enclaves_image_format::utils::eif_reader::EifReader;
use aws_nitro_enclaves_image_format::utils::{
    get_pcrs, EifBuilder, PcrSignatureChecker, SignEnclaveInfo,
};
use serde_json::{json, Value};
use sha2::{Digest, Sha384};
use std::fs::OpenOptions;
use std::panic::catch_unwind;
use std::path::Path;

fn text(job: &Value, field: &str) -> String {
    job[field].as_str().unwrap_or_default().to_string()
}

/// The signing key and its certificate, if the job names them.
fn sign_data(job: &Value) -> Result<Option<SignEnclaveInfo>, String> {
    if job["key"].is_null() {
        return Ok(None);
    }
    SignEnclaveInfo::new(&text(job, "certificate"), &text(job, "key")).map(Some)
}

fn build(job: &Value) -> Result<Value, String> {
    let metadata = &job["metadata"];
    let made = &metadata["BuildMetadata"];
    let identity = EifIdentityInfo {
        img_name: text(metadata, "ImageName"),
        img_version: text(metadata, "ImageVersion"),
        build_info: EifBuildInfo {
            build_time: text(made, "BuildTime"),
            build_tool: text(made, "BuildTool"),
            build_tool_version: text(made, "BuildToolVersion"),
            img_os: text(made, "OperatingSystem"),
            img_kernel: text(made, "KernelVersion"),
        },
        docker_info: metadata["DockerInfo"].clone(),
        custom_info: metadata["CustomMetadata"].clone(),
    };
    let flags = if text(job, "architecture") == "aarch64" { EIF_HDR_ARCH_ARM64 } else { 0 };
    let mut builder = EifBuilder::new(
        Path::new(&text(job, "kernel")),
        text(job, "cmdline"),
        sign_data(job)?,
        Sha384::new(),
        flags,
        identity,
    );
    for ramdisk in job["ramdisks"].as_array().into_iter().flatten() {
        builder.add_ramdisk(Path::new(ramdisk.as_str().unwrap_or_default()));
    }
    let mut output = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(text(job, "output"))
        .map_err(|error| error.to_string())?;
    Ok(json!({ "Measurements": builder.write_to(&mut output) }))
}

/// As nitro-cli's describe-eif, and as its run-enclave checks a signature.
fn describe(job: &Value) -> Result<Value, String> {
    let path = text(job, "eif");
    let mut reader = EifReader::from_eif(path.clone())?;
    let is_signed = reader.signature_section.is_some();
    let measurements = get_pcrs(
        &mut reader.image_hasher,
        &mut reader.bootstrap_hasher,
        &mut reader.app_hasher,
        &mut reader.cert_hasher,
        Sha384::new(),
        is_signed,
    )?;
    let mut shown = json!({
        "EifVersion": reader.get_header().version,
        "Measurements": measurements,
        "IsSigned": measurements.contains_key("PCR8"),
        "CheckCRC": reader.check_crc(),
    });
    if measurements.contains_key("PCR8") {
        let certificate = reader.get_certificate_info(measurements)?;
        shown["SigningCertificate"] = serde_json::to_value(certificate).map_err(|e| e.to_string())?;
        shown["SignatureCheck"] = json!(reader.sign_check);
        PcrSignatureChecker::from_eif(&path)?.verify()?;
    }
    if let Some(metadata) = reader.get_metadata() {
        shown["Identity"] = serde_json::to_value(metadata).map_err(|e| e.to_string())?;
    }
    Ok(shown)
}

fn run(job: &Value) -> Result<Value, String> {
    match job["do"].as_str() {
        Some("build") => build(job),
        Some("describe") => describe(job),
        other => Err(format!("no such job: {other:?}")),
    }
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: eif_peer <jobs.json>");
    let jobs: Vec<Value> = serde_json::from_slice(&std::fs::read(path).expect("jobs")).expect("JSON");
    // The crate panics where it does not like its input.
    std::panic::set_hook(Box::new(|_| {}));
    let results: Vec<Value> = jobs
        .iter()
        .map(|job| match catch_unwind(|| run(job)) {
            Ok(Ok(value)) => json!({ "ok": value }),
            Ok(Err(error)) => json!({ "error": error }),
            Err(_) => json!({ "error": "panicked" }),
        })
        .collect();
    println!("{}", json!(results));
}

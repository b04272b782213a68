//! What there is to choose from: one model, some samplers, and nothing of what is not built in.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::super::{Reception, read};
use super::Failure;
use crate::diffusion::SamplerKind;

pub(super) fn routes() -> Router<Arc<Reception>> {
    Router::new()
        .route("/options", get(options).post(set_options))
        .route("/sd-models", get(models))
        .route("/samplers", get(samplers))
        .route("/schedulers", get(schedulers))
        .route("/sd-vae", get(|| async { Json(json!([])) }))
        .route("/upscalers", get(|| async { Json(json!([])) }))
        .route("/latent-upscale-modes", get(|| async { Json(json!([])) }))
        .route("/scripts", get(|| async { Json(json!({ "txt2img": [], "img2img": [] })) }))
        .route("/memory", get(memory))
}

/// `GET /options`: those that clients look for.
async fn options(State(reception): State<Arc<Reception>>) -> Json<Value> {
    let model = reception.model();
    Json(json!({
        "samples_format": "png",
        "sd_model_checkpoint": model,
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
    }))
}

/// `POST /options`: there is one model; everything else is passed over.
async fn set_options(
    State(reception): State<Arc<Reception>>,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let options: Value = read::json(&body)?;
    let model = reception.model();
    match options.get("sd_model_checkpoint").and_then(Value::as_str) {
        Some(wanted) if wanted != model => {
            let message = format!("there is no model '{wanted}' here, only '{model}'");
            Err(Problem::not_found(message).into())
        }
        _ => Ok(Json(Value::Null)),
    }
}

async fn models(State(reception): State<Arc<Reception>>) -> Json<Value> {
    let model = reception.model();
    Json(json!([{
        "title": model,
        "model_name": model,
        "hash": null,
        "sha256": null,
        "filename": model,
        "config": null,
    }]))
}

async fn samplers() -> Json<Value> {
    let sampler = |kind: SamplerKind| {
        let (name, alias) = (kind.display_name(), kind.name());
        json!({ "name": name, "aliases": [alias], "options": {} })
    };
    Json(SamplerKind::ALL.into_iter().map(sampler).collect())
}

/// Spacings of the noise levels that a sampler can be given.
async fn schedulers() -> Json<Value> {
    let scheduler = |name: &str, label: &str, rho: f64| {
        json!({
            "name": name,
            "label": label,
            "aliases": null,
            "default_rho": rho,
            "need_inner_model": false,
        })
    };
    Json(json!([scheduler("automatic", "Automatic", -1.0), scheduler("karras", "Karras", 7.0)]))
}

/// `GET /memory`: of the machine, in bytes.
async fn memory() -> Json<Value> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    };
    let ram = match (bytes("MemTotal"), bytes("MemAvailable")) {
        (Some(total), Some(free)) => {
            json!({ "free": free, "used": total.saturating_sub(free), "total": total })
        }
        _ => json!({ "error": "unavailable" }),
    };
    Json(json!({ "ram": ram, "cuda": { "error": "unavailable" } }))
}

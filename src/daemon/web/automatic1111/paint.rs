//! `txt2img` and `img2img`. What is not known here is passed over, as the web UI does itself.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::super::problem::Problem;
use super::super::uploads::{self, Upload};
use super::super::wanted::Wanted;
use super::super::{Reception, aside, orders, read};
use super::Failure;
use crate::daemon::{Finished, Outcome};
use crate::diffusion::SamplerKind;
use crate::paint::{Beginning, Request, Size, png, preview};

/// What is asked for, of all that may be sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    prompt: Option<String>,
    negative_prompt: Option<String>,
    seed: Option<Number>,
    steps: Option<usize>,
    cfg_scale: Option<f32>,
    width: Option<usize>,
    height: Option<usize>,
    sampler_name: Option<String>,
    sampler_index: Option<String>,
    scheduler: Option<String>,
    batch_size: Option<usize>,
    n_iter: Option<usize>,
    send_images: Option<bool>,
    init_images: Option<Vec<String>>,
    include_init_images: Option<bool>,
    mask: Option<String>,
    /// Not 0 where the mask is white for what may not change.
    inpainting_mask_invert: Option<u8>,
    denoising_strength: Option<f32>,
}

/// `POST /txt2img`.
pub(super) async fn txt2img(
    State(reception): State<Arc<Reception>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let (asked, parameters) = Asked::read(body).await?;
    let requests = asked.requests(reception.pictures)?;
    let (images, info) = paint(&reception, requests).await?;
    Ok(answer(&asked, images, parameters, &info))
}

/// `POST /img2img`.
pub(super) async fn img2img(
    State(reception): State<Arc<Reception>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let (asked, mut parameters) = Asked::read(body).await?;
    if !asked.include_init_images.unwrap_or(false) {
        parameters.extend(["init_images", "mask"].map(|name| (name.to_owned(), Value::Null)));
    }
    let (upload, inverted) = asked.upload()?;
    let from = aside(move || beginning(&upload, inverted)).await?;
    let requests = asked.requests(reception.pictures)?.into_iter();
    let requests = requests.map(|request| Request { from: Some(from.clone()), ..request });
    let (images, info) = paint(&reception, requests.collect()).await?;
    Ok(answer(&asked, images, parameters, &info))
}

fn beginning(upload: &Upload, inverted: bool) -> Result<Beginning, Problem> {
    let mut from = upload.beginning()?;
    if let Some(mask) = from.mask.as_mut().filter(|_| inverted) {
        *mask = Arc::new(uploads::inverted(mask));
    }
    Ok(from)
}

fn answer(
    asked: &Asked,
    images: Vec<String>,
    parameters: Map<String, Value>,
    info: &Value,
) -> Json<Value> {
    let images = if asked.send_images.unwrap_or(true) { images } else { Vec::new() };
    Json(json!({ "images": images, "parameters": parameters, "info": info.to_string() }))
}

impl Asked {
    /// What is asked for, and all that was sent.
    async fn read(
        body: Result<Bytes, BytesRejection>,
    ) -> Result<(Self, Map<String, Value>), Problem> {
        let body = body.map_err(|rejection| read::body(&rejection))?;
        aside(move || Ok((read::json(&body)?, read::json(&body)?))).await
    }

    /// A request for every picture, with seeds one after the other.
    fn requests(&self, most: usize) -> Result<Vec<Request>, Problem> {
        let count = self.batch_size.unwrap_or(1).saturating_mul(self.n_iter.unwrap_or(1));
        if !(1..=most).contains(&count) {
            return Err(Problem::bad(format!(
                "batch_size x n_iter is {count}; one request may ask for 1 to {most} pictures \
                 here ([web] pictures)"
            )));
        }
        let seed = read::seed(self.seed.as_ref())?;
        let wanted = Wanted {
            prompt: self.prompt.clone().unwrap_or_default(),
            negative: self.negative_prompt.clone().unwrap_or_default(),
            seed,
            steps: self.steps,
            guidance: self.cfg_scale,
            size: self.size()?,
            sampler: self.sampler()?,
            from: None,
        };
        let request = wanted.request()?;
        let with_seed = |i| Request { seed: seed.wrapping_add(i as u64), ..request.clone() };
        Ok((0..count).map(with_seed).collect())
    }

    /// The picture to begin with, and whether its mask is the other way round.
    fn upload(&self) -> Result<(Upload, bool), Problem> {
        let image = match self.init_images.as_deref().unwrap_or_default() {
            [image] => image.clone(),
            [] => return Err(Problem::not_found("Init image not found")),
            _ => return Err(Problem::bad("one init image is painted from at a time")),
        };
        let upload = Upload { image, mask: self.mask.clone(), strength: self.denoising_strength };
        Ok((upload, self.inpainting_mask_invert.unwrap_or(0) != 0))
    }

    /// A side that is not given is as long as the other.
    fn size(&self) -> Result<Option<Size>, Problem> {
        let Some(side) = self.width.or(self.height) else { return Ok(None) };
        let (width, height) = (self.width.unwrap_or(side), self.height.unwrap_or(side));
        super::super::wanted::size(&format!("{width}x{height}")).map(Some)
    }

    fn sampler(&self) -> Result<Option<SamplerKind>, Problem> {
        let name = self.sampler_name.as_deref().or(self.sampler_index.as_deref());
        let name = name.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("automatic"));
        let Some(name) = name else { return Ok(None) };
        let kind = name.parse().map_err(|_| Problem::not_found("Sampler not found"))?;
        let karras = self.scheduler.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("karras"));
        Ok(Some(match kind {
            SamplerKind::DpmSolver if karras => SamplerKind::DpmSolverKarras,
            kind => kind,
        }))
    }
}

/// Paints in turn: the pictures in base64, and what is to be told of them. Of one that was stopped,
/// there is its last preview.
async fn paint(
    reception: &Reception,
    requests: Vec<Request>,
) -> Result<(Vec<String>, Value), Failure> {
    let prompt = requests.first().map(|request| request.prompt.clone()).unwrap_or_default();
    let place = |request| reception.orders.place(request, reception.show);
    // If one is refused, those before it are taken back.
    let mut pending = requests.into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let listed = reception.batches.enter(pending.iter().map(|pending| pending.id).collect());
    let (mut images, mut painted) = (Vec::new(), Vec::new());
    for pending in &mut pending {
        match pending.outcome().await {
            Outcome::Interrupted(preview) => images.extend(preview.and_then(|picture| {
                let file = png::encode(&picture, &prompt).ok()?;
                Some(preview::base64(&file))
            })),
            Outcome::Cancelled if listed.batch.is_interrupted() => {}
            outcome => {
                let finished = orders::picture(outcome)?;
                images.push(preview::base64(&finished.file));
                painted.push(finished);
            }
        }
        listed.batch.advance();
    }
    Ok((images, info(&painted, &prompt, &listed.batch.timestamp)))
}

/// What the web UI tells of a batch.
fn info(painted: &[Arc<Finished>], prompt: &str, timestamp: &str) -> Value {
    let Some(first) = painted.first().map(|finished| &finished.request) else {
        return json!({ "prompt": prompt, "all_prompts": [], "all_seeds": [], "infotexts": [] });
    };
    let all = |value: fn(&Finished) -> Value| painted.iter().map(|f| value(f)).collect::<Value>();
    let infotext = |finished: &Finished| {
        png::parameters(&finished.file).ok().flatten().unwrap_or_default().into()
    };
    json!({
        "prompt": first.prompt,
        "all_prompts": all(|f| f.request.prompt.as_str().into()),
        "negative_prompt": first.negative,
        "all_negative_prompts": all(|f| f.request.negative.as_str().into()),
        "seed": first.seed,
        "all_seeds": all(|f| f.request.seed.into()),
        "subseed": -1,
        "subseed_strength": 0,
        "width": first.size.width,
        "height": first.size.height,
        "sampler_name": first.sampler.display_name(),
        "cfg_scale": first.guidance,
        "steps": first.steps,
        "batch_size": 1,
        "denoising_strength": first.strength,
        "sd_model_name": first.model,
        "sd_model_hash": first.model_hash,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": all(infotext),
        "clip_skip": 1,
        "job_timestamp": timestamp,
        "version": format!("pochade {}", env!("CARGO_PKG_VERSION")),
    })
}

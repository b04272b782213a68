//! `POST /images/edits`: a picture from a picture and words, as a form of parts.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::multipart::{Field, Multipart, MultipartError, MultipartRejection};
use axum::http::HeaderMap;
use axum::response::Response;
use image::{DynamicImage, GrayImage, Luma};
use serde_json::{Map, Value};

use super::super::problem::Problem;
use super::super::uploads::strength;
use super::super::{Reception, aside, pictures};
use super::picture::Asked;
use super::{Failure, generations};
use crate::paint::{Beginning, Request};

/// What the form's parts say.
#[derive(Default)]
struct Form {
    asked: Asked,
    strength: Option<f32>,
    image: Option<Vec<u8>>,
    mask: Option<Vec<u8>>,
}

pub(super) async fn edits(
    State(reception): State<Arc<Reception>>,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, Failure> {
    let form = form.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let Form { asked, strength: given, image, mask } = Form::read(form).await?;
    let strength = strength(given)?;
    let image = image.ok_or_else(|| Problem::bad("an image is needed"))?;
    let from = aside(move || beginning(&image, mask.as_deref(), strength)).await?;
    let requests = asked.requests(reception.pictures)?.into_iter();
    let requests = requests.map(|request| Request { from: Some(from.clone()), ..request });
    let kind = "image_edit";
    generations::answer(&reception, &asked, (kind, &headers), requests.collect()).await
}

impl Form {
    /// Numbers come as text.
    async fn read(mut parts: Multipart) -> Result<Self, Problem> {
        let (mut form, mut fields) = (Self::default(), Map::new());
        while let Some(part) = parts.next_field().await.map_err(damaged)? {
            let name = part.name().unwrap_or_default().to_owned();
            match name.as_str() {
                "image" | "image[]" if form.image.is_some() => {
                    return Err(Problem::bad("one image is edited at a time"));
                }
                "image" | "image[]" => form.image = Some(bytes(part).await?),
                "mask" => form.mask = Some(bytes(part).await?),
                _ => {
                    // UTF-8 whatever its charset, whose tables would only make the binary larger.
                    let text = String::from_utf8_lossy(&bytes(part).await?).into_owned();
                    let value = value(&name, text);
                    fields.insert(name, value);
                }
            }
        }
        let number = fields.remove("strength").and_then(|value| value.as_f64());
        form.strength = number.map(|number| number as f32);
        form.asked = serde_json::from_value(fields.into())
            .map_err(|error| Problem::bad(format!("the form: {error}")))?;
        Ok(form)
    }
}

async fn bytes(part: Field<'_>) -> Result<Vec<u8>, Problem> {
    Ok(part.bytes().await.map_err(damaged)?.to_vec())
}

fn damaged(error: MultipartError) -> Problem {
    Problem::new(error.status(), format!("the form: {}", error.body_text()))
}

/// A part's text as what it stands for.
fn value(name: &str, text: String) -> Value {
    const NO_TEXT: [&str; 8] = [
        "n",
        "seed",
        "steps",
        "guidance_scale",
        "output_compression",
        "partial_images",
        "stream",
        "strength",
    ];
    let value = NO_TEXT.contains(&name).then(|| serde_json::from_str(&text).ok()).flatten();
    value.unwrap_or(text.into())
}

/// A mask says by its transparent places where the picture may change; without one, those of the
/// picture itself do.
fn beginning(image: &[u8], mask: Option<&[u8]>, strength: f32) -> Result<Beginning, Problem> {
    let image = pictures::decode(image)?;
    let mask = mask.map(pictures::decode).transpose()?;
    let mask = transparent(mask.as_ref().unwrap_or(&image));
    Ok(Beginning { image: Arc::new(image.into_rgb8()), strength, mask: mask.map(Arc::new) })
}

/// White where a picture is transparent; nothing where it is nowhere.
fn transparent(picture: &DynamicImage) -> Option<GrayImage> {
    if !picture.color().has_alpha() {
        return None;
    }
    let picture = picture.to_rgba8();
    let seen = picture.pixels().any(|pixel| pixel.0[3] < 255);
    let place = |x, y| Luma([255 - picture.get_pixel(x, y).0[3]]);
    seen.then(|| GrayImage::from_fn(picture.width(), picture.height(), place))
}

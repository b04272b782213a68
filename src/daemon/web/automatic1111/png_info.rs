//! `png-info`: how a picture was made, as it says itself.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::problem::Problem;
use super::super::{base64, read};
use super::Failure;
use crate::paint::infotext::Infotext;
use crate::paint::png;

#[derive(Debug, Deserialize)]
struct Asked {
    image: String,
}

/// `POST /png-info`: a PNG file in base64.
pub(super) async fn png_info(body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Failure> {
    let asked: Asked = read::json(&body.map_err(|rejection| read::body(&rejection))?)?;
    let file = base64::decode(&asked.image).filter(|file| !file.is_empty());
    let file = file.ok_or_else(|| Problem::bad("image is a PNG file in base64"))?;
    let text = png::parameters(&file).map_err(|error| Problem::bad(error.to_string()))?;
    Ok(Json(told(text.as_deref())))
}

fn told(text: Option<&str>) -> Value {
    let Some(text) = text else { return json!({ "info": "", "items": {}, "parameters": {} }) };
    json!({ "info": text, "items": { "parameters": text }, "parameters": parameters(text) })
}

/// The pairs by the names that the web UI gives them.
fn parameters(text: &str) -> Map<String, Value> {
    let infotext = Infotext::parse(text);
    let size = infotext.get("Size").and_then(|size| size.split_once('x'));
    let size = size.map(|(width, height)| [("Size-1", width), ("Size-2", height)]);
    let pair = |(key, value): (&str, &str)| (key.to_owned(), Value::from(value));
    let words = [("Prompt", &*infotext.prompt), ("Negative prompt", &*infotext.negative)];
    let fields = infotext.fields.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    words.into_iter().chain(fields).chain(size.into_iter().flatten()).map(pair).collect()
}

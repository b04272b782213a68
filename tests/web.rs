//! The kiosk over HTTP: requests against a kiosk that really paints, most without a socket.
#![cfg(all(feature = "web", feature = "default-model"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::Future;
use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use pochade::daemon::web::{self, Token, WebSettings};
use pochade::daemon::{Config, Desk, Handle, Kiosk, System, Wish};
use pochade::diffusion::SamplerKind;
use pochade::paint::infotext::Infotext;
use pochade::paint::preview::base64;
use pochade::paint::{self, Beginning, Paint, Painter, png};
use serde_json::{Value, json};
use tower::ServiceExt;

const TOKEN: &str = "correct-horse-battery";
const PROMPT: &str = "a red sun over blue mountains, flat";

/// A kiosk on a thread of its own, until it is dropped.
struct House {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl House {
    fn open() -> Self {
        Self::with("")
    }

    fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gallery = folder.path().join("gallery");
        let text = format!(
            "[model]\nthreads = 1\n[paint]\nsteps = 2\n[schedule]\nevery = \"1d\"\nstock = 0\n\
             [gallery]\nfolder = {gallery:?}\nfree = \"1MB\"\n{more}"
        );
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let config = Config::parse(&text).unwrap();
            let mut kiosk = Kiosk::open(System::default(), None, config, Desk::default()).unwrap();
            sender.send(kiosk.handle()).unwrap();
            kiosk.run();
        });
        let handle = receiver.recv().unwrap();
        Self { handle, thread: Some(thread), _folder: folder }
    }

    /// Runs a test against the routes.
    fn visit<F: Future<Output = ()>>(&self, test: impl FnOnce(Client) -> F) {
        self.visit_with(None, test);
    }

    fn visit_with<F: Future<Output = ()>>(
        &self,
        token: Option<&str>,
        test: impl FnOnce(Client) -> F,
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let token = token.map(|token| Token::try_from(token.to_owned()).unwrap());
            let settings = WebSettings::default();
            let routes = web::routes(&settings, token.as_ref(), self.handle.clone());
            let client = Client { routes };
            client.idle(&self.handle).await;
            test(client).await;
        });
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.handle.desk.call_stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Sends requests to the routes.
#[derive(Clone)]
struct Client {
    routes: Router,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON of an answer that must be a good one.
    fn good(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }
}

impl Client {
    async fn send(&self, what: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:8080");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.routes.clone().oneshot(request.body(body.into()).unwrap()).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = to_bytes(body, 1 << 26).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], Body::empty()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(&format!("POST {path}"), &headers, body.to_string()).await
    }

    /// Waits until nothing is being painted and the first picture hangs.
    async fn idle(&self, handle: &Handle) {
        until(|| {
            let state = handle.board.state();
            state.work.is_none() && state.waiting.is_empty() && state.counts.painted > 0
        })
        .await;
    }

    /// What became of an order.
    async fn end(&self, id: u64) -> Value {
        let start = Instant::now();
        loop {
            let told = self.get(&format!("/api/orders/{id}")).await.good();
            if !matches!(told["state"].as_str(), Some("waiting" | "painting")) {
                return told;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{told}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "this takes too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn request(seed: u64, steps: usize) -> paint::Request {
    let (prompt, steps) = (PROMPT.to_owned(), Some(steps));
    paint::Request { prompt, seed, steps, ..paint::Request::default() }
}

/// The file that `pochade paint` writes.
fn painted(seed: u64, steps: usize) -> Vec<u8> {
    painted_by(&request(seed, steps))
}

fn painted_by(request: &paint::Request) -> Vec<u8> {
    let mut painter = Painter::open(None, Some(1)).unwrap();
    let painting = painter.paint(request, &mut |_| ControlFlow::Continue(())).unwrap();
    png::encode(&painting.image, &Infotext::of(&painting.request).to_string()).unwrap()
}

fn same_picture(sent: &Value, file: &[u8]) -> bool {
    sent.as_str().unwrap() == base64(file)
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_runs_nothing_of_others() {
    House::open().visit(|client| async move {
        let page = client.get("/").await;
        assert!(page.text().contains("<title>"));
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"));
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        for path in ["/", "/app.js", "/style.css"] {
            let file = client.get(path).await;
            assert_eq!(file.status, StatusCode::OK);
            assert!(!file.text().contains("src=\"http") && !file.text().contains("url(http"));
        }
        assert_eq!(client.get("/nothing").await.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn an_order_becomes_the_very_picture_that_paint_would_make() {
    let house = House::open();
    house.visit(|client| async move {
        let order = json!({ "prompt": PROMPT, "seed": 7, "steps": 3 });
        let answer = client.post("/api/orders", &order).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let id = answer.json()["id"].as_u64().unwrap();
        assert_eq!(answer.header("location"), format!("/api/orders/{id}"));
        let end = client.end(id).await;
        assert_eq!(
            (&end["state"], &end["seed"], &end["steps"]),
            (&json!("finished"), &json!(7), &json!(3))
        );
        let name = end["name"].as_str().unwrap();
        let picture = client.get(&format!("/api/gallery/{name}")).await;
        assert_eq!(picture.body, painted(7, 3));
        assert_eq!(picture.header("content-type"), "image/png");
        assert!(picture.header("cache-control").contains("immutable"));
        // It is on the screen, too.
        assert_eq!(client.get("/api/state").await.good()["shown"], name);
        assert_eq!(client.get("/image/current.png").await.body, picture.body);
        let jpeg = client.get("/image/current.jpg").await;
        assert_eq!(
            (jpeg.header("content-type"), &jpeg.body[..2]),
            ("image/jpeg", &[0xff, 0xd8][..])
        );
    });
}

#[test]
fn the_gallery_is_searched_thinned_out_and_kept() {
    let house = House::open();
    house.visit(|client| async move {
        let mut names = Vec::new();
        for prompt in ["a teal balloon over green hills", "a pink planet at dusk"] {
            let order = json!({ "prompt": prompt, "steps": 1, "show": false });
            let id = client.post("/api/orders", &order).await.good()["id"].as_u64().unwrap();
            names.push(client.end(id).await["name"].as_str().unwrap().to_owned());
        }
        let balloon = &names[0];
        let list = |query: &str| {
            let (client, path) = (client.clone(), format!("/api/gallery?{query}"));
            async move { client.get(&path).await.good() }
        };
        assert_eq!(list("").await["pictures"].as_array().unwrap().len(), 3);
        let found = list("search=BALLOON%20teal").await;
        assert_eq!(found["pictures"].as_array().unwrap().len(), 1);
        assert_eq!(found["pictures"][0]["name"], *balloon);
        assert_eq!(found["pictures"][0]["width"], 128);
        let first = list("limit=1").await;
        assert_eq!(first["more"], true);
        let before = first["pictures"][0]["name"].as_str().unwrap();
        assert_eq!(
            list(&format!("before={before}")).await["pictures"].as_array().unwrap().len(),
            2
        );

        let favourite = format!("/api/gallery/{balloon}/favourite");
        client.send(&format!("PUT {favourite}"), &[], "").await.good();
        let found = list("favourites=true").await;
        assert_eq!(found["pictures"][0]["name"], *balloon);
        client.send(&format!("DELETE {favourite}"), &[], "").await.good();
        assert_eq!(list("favourites=true").await["pictures"], json!([]));

        let small = client.get(&format!("/api/gallery/{balloon}?width=32")).await;
        assert_eq!(small.header("content-type"), "image/jpeg");
        assert_eq!(image::load_from_memory(&small.body).unwrap().width(), 32);

        client.send(&format!("DELETE /api/gallery/{balloon}"), &[], "").await.good();
        for what in ["GET", "DELETE"] {
            let answer = client.send(&format!("{what} /api/gallery/{balloon}"), &[], "").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        let outside = client.get("/api/gallery/..%2F..%2Fetc%2Fpasswd").await;
        assert_eq!(outside.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn orders_that_make_no_sense_are_answered_with_a_sentence() {
    House::open().visit(|client| async move {
        for (order, words) in [
            (json!({}), "prompt"),
            (json!({ "prompt": PROMPT, "size": "big" }), "128x128"),
            (json!({ "prompt": PROMPT, "sampler": "heun" }), "heun"),
            (json!({ "prompt": PROMPT, "guidance": -1 }), "guidance"),
            (json!({ "prompt": PROMPT, "seed": 0.5 }), "seed"),
            (json!({ "prompt": PROMPT, "stepz": 3 }), "stepz"),
            (json!({ "prompt": "a murder" }), "murder"),
        ] {
            let answer = client.post("/api/orders", &order).await;
            assert!(answer.status.is_client_error(), "{order}");
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains(words), "{order}: {error}");
        }
        assert_eq!(client.get("/api/orders/99").await.status, StatusCode::NOT_FOUND);
        let large = "x".repeat(25 << 20);
        for what in ["POST /api/orders", "POST /api/login", "POST /sdapi/v1/options"] {
            let answer = client.send(what, &[], large.clone()).await;
            assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{what}");
        }
    });
}

#[test]
fn a_full_desk_says_when_to_come_again_and_an_order_can_be_taken_back() {
    let house = House::with("[orders]\nwaiting = 1\n");
    house.visit(|client| async move {
        let order = json!({ "prompt": PROMPT, "steps": 50 });
        let first = client.post("/api/orders", &order).await.good()["id"].as_u64().unwrap();
        let path = format!("/api/orders/{first}");
        while client.get(&path).await.good()["state"] != "painting" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let second = client.post("/api/orders", &order).await.good()["id"].as_u64().unwrap();
        let third = client.post("/api/orders", &order).await;
        assert_eq!(third.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(third.header("retry-after").parse::<u64>().unwrap() >= 1);
        let openai = client.post("/v1/images/generations", &json!({ "prompt": PROMPT })).await;
        assert_eq!(openai.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(openai.json()["error"]["type"], "rate_limit_error");
        client.send(&format!("DELETE /api/orders/{second}"), &[], "").await.good();
        assert_eq!(client.end(second).await["state"], "cancelled");
        client.send(&format!("DELETE {path}"), &[], "").await.good();
        assert_eq!(client.end(first).await["state"], "interrupted");
        let gone = client.send(&format!("DELETE {path}"), &[], "").await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn programs_for_the_web_ui_get_what_they_expect() {
    House::open().visit(|client| async move {
        let asked = json!({
            "prompt": PROMPT, "seed": 7, "steps": 3, "n_iter": 2, "batch_size": 1,
            "sampler_name": "DDIM", "scheduler": "automatic", "enable_hr": false, "styles": [],
            "override_settings": {}, "alwayson_scripts": {}, "script_name": null,
        });
        let answer = client.post("/sdapi/v1/txt2img", &asked).await.good();
        let images = answer["images"].as_array().unwrap();
        assert!(
            same_picture(&images[0], &painted(7, 3)) && same_picture(&images[1], &painted(8, 3))
        );
        assert_eq!(answer["parameters"], asked);
        let info: Value = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
        assert_eq!(info["all_seeds"], json!([7, 8]));
        assert_eq!((&info["width"], &info["sampler_name"]), (&json!(128), &json!("DDIM")));
        assert!(info["infotexts"][1].as_str().unwrap().contains("Seed: 8"));

        let told = client.post("/sdapi/v1/png-info", &json!({ "image": images[0] })).await.good();
        assert_eq!(told["info"], info["infotexts"][0]);
        assert_eq!(told["parameters"]["Prompt"], PROMPT);
        assert_eq!(told["parameters"]["Size-1"], "128");

        let random = json!({ "prompt": PROMPT, "seed": -1, "steps": 1, "send_images": false });
        let answer = client.post("/sdapi/v1/txt2img", &random).await.good();
        assert_eq!(answer["images"], json!([]));
        let idle = client.get("/sdapi/v1/progress").await.good();
        assert_eq!((&idle["progress"], &idle["state"]["job_count"]), (&json!(0.0), &json!(0)));
    });
}

#[test]
fn the_web_ui_s_lists_are_there_and_its_errors_have_its_shape() {
    House::open().visit(|client| async move {
        let models = client.get("/sdapi/v1/sd-models").await.good();
        let options = client.get("/sdapi/v1/options").await.good();
        assert_eq!(models[0]["title"], options["sd_model_checkpoint"]);
        assert_eq!(options["samples_format"], "png");
        let same =
            json!({ "sd_model_checkpoint": models[0]["title"], "CLIP_stop_at_last_layers": 2 });
        assert_eq!(client.post("/sdapi/v1/options", &same).await.good(), Value::Null);
        let other = client.post("/sdapi/v1/options", &json!({ "sd_model_checkpoint": "x" })).await;
        assert_eq!(other.status, StatusCode::NOT_FOUND);
        let samplers = client.get("/sdapi/v1/samplers").await.good();
        assert_eq!(samplers.as_array().unwrap().len(), SamplerKind::ALL.len());
        for path in
            ["schedulers", "sd-vae", "upscalers", "latent-upscale-modes", "scripts", "memory"]
        {
            client.get(&format!("/sdapi/v1/{path}")).await.good();
        }
        for (asked, status, words) in [
            (json!({ "prompt": PROMPT, "sampler_name": "Heun" }), 404, "Sampler not found"),
            (json!({ "prompt": PROMPT, "n_iter": 99 }), 400, "batch_size x n_iter is 99"),
            (json!({ "prompt": PROMPT, "steps": "many" }), 422, "many"),
            (json!({ "prompt": "" }), 400, "prompt"),
            (json!([]), 422, "JSON"),
        ] {
            let answer = client.post("/sdapi/v1/txt2img", &asked).await;
            assert_eq!(answer.status, status, "{asked}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(words), "{asked}: {detail}");
        }
        assert_eq!(client.get("/sdapi/v1/none").await.json()["detail"], "Not Found");
    });
}

#[test]
fn progress_moves_and_an_interrupt_ends_the_whole_batch_within_a_step() {
    let house = House::open();
    let board = house.handle.board.clone();
    house.visit(|client| async move {
        let asked = json!({ "prompt": PROMPT, "steps": 50, "n_iter": 3 });
        let other = client.clone();
        let painting =
            tokio::spawn(async move { other.post("/sdapi/v1/txt2img", &asked).await.good() });
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let told = client.get("/sdapi/v1/progress").await.good();
            let step = told["state"]["sampling_step"].as_u64().unwrap();
            if step > 0 && seen.last() != Some(&step) {
                assert_eq!(
                    (&told["state"]["job_count"], &told["state"]["job_no"]),
                    (&json!(3), &json!(0))
                );
                assert!(
                    told["progress"].as_f64().unwrap() > 0.0 && told["current_image"].is_string()
                );
                seen.push(step);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let without = client.get("/sdapi/v1/progress?skip_current_image=true").await.good();
        assert_eq!(without["current_image"], Value::Null);
        client.post("/sdapi/v1/interrupt", &json!({})).await.good();
        let at = board.state().work.map_or(0, |work| work.step);
        let answer = painting.await.unwrap();
        let after = board.state();
        assert!(at <= 50 && after.work.is_none() && after.waiting.is_empty());
        assert_eq!(after.counts.interrupted, 1);
        // The picture as it could be guessed by then.
        assert_eq!(answer["images"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn openai_s_clients_get_pictures_and_errors_in_their_shape() {
    let house = House::open();
    house.visit(|client| async move {
        let asked = json!({
            "model": "dall-e-3", "prompt": PROMPT, "n": 2, "seed": 7, "steps": 3,
            "response_format": "b64_json", "quality": "hd", "size": "auto",
        });
        let answer = client.post("/v1/images/generations", &asked).await.good();
        assert!(same_picture(&answer["data"][0]["b64_json"], &painted(7, 3)));
        assert!(same_picture(&answer["data"][1]["b64_json"], &painted(8, 3)));
        assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
        assert_eq!((&answer["size"], &answer["output_format"]), (&json!("128x128"), &json!("png")));

        let asked = json!({ "prompt": PROMPT, "seed": 7, "steps": 3, "response_format": "url" });
        let answer = client.post("/v1/images/generations", &asked).await.good();
        let address = answer["data"][0]["url"].as_str().unwrap();
        let path = address.strip_prefix("http://localhost:8080").unwrap();
        assert_eq!(client.get(path).await.body, painted(7, 3));

        let asked = json!({ "prompt": PROMPT, "steps": 1, "output_format": "jpeg" });
        let answer = client.post("/v1/images/generations", &asked).await.good();
        assert!(answer["data"][0]["b64_json"].as_str().unwrap().starts_with("/9j/"));

        let models = client.get("/v1/models").await.good();
        let id = models["data"][0]["id"].as_str().unwrap().replace(' ', "%20");
        assert_eq!(client.get(&format!("/v1/models/{id}")).await.good()["object"], "model");
        for (asked, code) in [
            (json!({}), Value::Null),
            (json!({ "prompt": PROMPT, "n": 0 }), Value::Null),
            (json!({ "prompt": PROMPT, "output_format": "webp" }), Value::Null),
            (json!({ "prompt": "a murder" }), json!("moderation_blocked")),
            (json!({ "prompt": PROMPT, "stream": true, "n": 2 }), Value::Null),
        ] {
            let answer = client.post("/v1/images/generations", &asked).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{asked}");
            assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
            assert_eq!(answer.json()["error"]["code"], code, "{asked}");
        }
        let answer = client.get("/v1/models/x").await;
        assert_eq!(answer.json()["error"]["code"], "model_not_found");
    });
}

#[test]
fn a_stream_shows_the_picture_emerging_and_ends_with_it() {
    House::open().visit(|client| async move {
        let asked = json!({
            "prompt": PROMPT, "seed": 7, "steps": 12, "stream": true, "partial_images": 2,
        });
        let answer = client.post("/v1/images/generations", &asked).await;
        assert_eq!(answer.header("content-type"), "text/event-stream");
        let text = answer.text();
        let events: Vec<(&str, Value)> = text.split("\n\n").filter_map(event).collect();
        let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "image_generation.partial_image",
                "image_generation.partial_image",
                "image_generation.completed"
            ]
        );
        for (i, (name, data)) in events.iter().enumerate() {
            assert_eq!(data["type"], *name);
            assert_eq!(data["size"], "128x128");
            if i < 2 {
                assert_eq!(data["partial_image_index"], i);
            }
        }
        assert!(same_picture(&events[2].1["b64_json"], &painted(7, 12)));
    });
}

fn event(text: &str) -> Option<(&str, Value)> {
    let name = text.lines().find_map(|line| line.strip_prefix("event: "))?;
    let data = text.lines().find_map(|line| line.strip_prefix("data: "))?;
    Some((name, serde_json::from_str(data).unwrap()))
}

/// The file that `pochade paint --from` writes, and the picture in PNG that it begins with.
fn painted_from(seed: u64, strength: f32, mask: Option<&GrayImage>) -> [Vec<u8>; 2] {
    let start = RgbImage::from_fn(64, 64, |x, y| Rgb([4 * x as u8, 200, 4 * y as u8]));
    let file = png::encode(&start, "").unwrap();
    let from = Beginning { image: Arc::new(start), strength, mask: mask.cloned().map(Arc::new) };
    let request = paint::Request { from: Some(from), ..request(seed, 4) };
    [painted_by(&request), file]
}

#[test]
fn a_picture_can_begin_with_one_that_was_sent() {
    House::open().visit(|client| async move {
        // White on the left, where it may change.
        let mask = GrayImage::from_fn(64, 64, |x, _| Luma([if x < 32 { 255 } else { 0 }]));
        let [wanted, file] = painted_from(9, 0.5, Some(&mask));
        let mut mask_file = Cursor::new(Vec::new());
        mask.write_to(&mut mask_file, ImageFormat::Png).unwrap();
        let (image, mask) = (base64(&file), base64(&mask_file.into_inner()));
        let asked = json!({
            "prompt": PROMPT, "seed": 9, "steps": 4, "denoising_strength": 0.5, "mask": mask,
            "init_images": [format!("data:image/png;base64,{image}")],
        });
        let answer = client.post("/sdapi/v1/img2img", &asked).await.good();
        assert!(same_picture(&answer["images"][0], &wanted));
        assert_eq!(answer["parameters"]["init_images"], Value::Null);
        let from = json!({ "image": image, "mask": mask, "strength": 0.5 });
        let order = json!({ "prompt": PROMPT, "seed": 9, "steps": 4, "from": from });
        let id = client.post("/api/orders", &order).await.good()["id"].as_u64().unwrap();
        let name = client.end(id).await["name"].as_str().unwrap().to_owned();
        assert_eq!(client.get(&format!("/api/gallery/{name}")).await.body, wanted);

        let address = json!({ "prompt": PROMPT, "init_images": ["http://evil.example/a.png"] });
        let answer = client.post("/sdapi/v1/img2img", &address).await;
        assert!(answer.json()["detail"].as_str().unwrap().contains("nothing is fetched"));
        let answer = client.post("/sdapi/v1/img2img", &json!([])).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let answer = client.post("/sdapi/v1/img2img", &json!({ "prompt": PROMPT })).await;
        assert_eq!(answer.json()["detail"], "Init image not found");
    });
}

#[test]
fn a_form_edits_a_picture_where_its_mask_is_transparent() {
    House::open().visit(|client| async move {
        let mask = GrayImage::from_fn(64, 64, |_, y| Luma([if y < 32 { 255 } else { 0 }]));
        let [wanted, file] = painted_from(9, 0.5, Some(&mask));
        let glass =
            RgbaImage::from_fn(64, 64, |x, y| Rgba([0, 0, 0, 255 - mask.get_pixel(x, y).0[0]]));
        let mut mask_file = Cursor::new(Vec::new());
        glass.write_to(&mut mask_file, ImageFormat::Png).unwrap();
        let mut form = Vec::new();
        let mut part = |head: &str, body: &[u8]| {
            write!(form, "--x\r\nContent-Disposition: form-data; {head}\r\n\r\n").unwrap();
            form.extend([body, b"\r\n"].concat());
        };
        for (name, text) in
            [("prompt", PROMPT), ("seed", "9"), ("steps", "4"), ("strength", "0.5"), ("n", "1")]
        {
            part(&format!("name=\"{name}\""), text.as_bytes());
        }
        part("name=\"image\"; filename=\"a.png\"", &file);
        part("name=\"mask\"; filename=\"b.png\"", mask_file.get_ref());
        form.extend(b"--x--\r\n");
        let headers = [("content-type", "multipart/form-data; boundary=x")];
        let answer = client.send("POST /v1/images/edits", &headers, form).await.good();
        assert!(same_picture(&answer["data"][0]["b64_json"], &wanted));
        for body in ["", "--x--", "--x\r\n\r\n"] {
            let answer = client.send("POST /v1/images/edits", &headers, body).await;
            assert!(answer.status.is_client_error(), "{body:?}");
            assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        }
    });
}

#[test]
fn a_client_that_goes_away_takes_its_order_back() {
    let house = House::open();
    let board = house.handle.board.clone();
    house.visit(|client| async move {
        for (path, stream) in [("/sdapi/v1/txt2img", false), ("/v1/images/generations", true)] {
            let before = board.state().counts.interrupted;
            let asked = json!({ "prompt": PROMPT, "steps": 50, "stream": stream });
            let other = client.clone();
            let waiting = tokio::spawn(async move { other.post(path, &asked).await });
            until(|| board.state().work.is_some_and(|work| work.step > 0)).await;
            waiting.abort();
            until(|| board.state().counts.interrupted > before).await;
        }
    });
}

#[test]
fn a_token_is_asked_for_everywhere_but_for_the_page() {
    House::open().visit_with(Some(TOKEN), |client| async move {
        for path in ["/", "/app.js", "/style.css", "/healthz"] {
            assert_eq!(client.get(path).await.status, StatusCode::OK, "{path}");
        }
        for path in ["/api/state", "/metrics", "/api/gallery", "/image/current.jpg", "/api/events"]
        {
            let answer = client.get(path).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
            assert!(answer.json()["error"].as_str().unwrap().contains("token"));
        }
        let answer = client.get("/sdapi/v1/options").await;
        assert!(answer.json()["detail"].as_str().unwrap().contains("token"));
        let answer = client.get("/v1/models").await;
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("authorization", bearer.as_str()), ("host", "frame.lan")];
        client.send("GET /api/state", &headers, "").await.good();
        let wrong = client.send("GET /api/state", &[("authorization", "Bearer x")], "").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    });
}

#[test]
fn the_page_trades_the_token_for_a_cookie() {
    House::open().visit_with(Some(TOKEN), |client| async move {
        let answer = client.get(&format!("/?token={TOKEN}")).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
        let cookie = answer.header("set-cookie").to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
        let pair = cookie.split(';').next().unwrap();
        client.send("GET /api/state", &[("cookie", pair)], "").await.good();
        let other = [("cookie", pair), ("origin", "http://evil.example")];
        let answer = client.send("POST /api/next", &other, "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(client.get("/?token=wrong").await.status, StatusCode::UNAUTHORIZED);
        let login = client.post("/api/login", &json!({ "token": TOKEN })).await;
        assert_eq!(login.header("set-cookie"), cookie);
        let login = client.post("/api/login", &json!({ "token": "wrong" })).await;
        assert_eq!(login.status, StatusCode::UNAUTHORIZED);
    });
}

#[test]
fn without_a_token_pages_from_elsewhere_reach_nothing() {
    House::open().visit(|client| async move {
        let rebound = client.send("GET /api/state", &[("host", "evil.example")], "").await;
        assert_eq!(rebound.status, StatusCode::FORBIDDEN);
        for origin in ["http://evil.example", "null"] {
            let answer = client.send("POST /api/next", &[("origin", origin)], "").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        }
        let own = [("origin", "http://localhost:8080")];
        assert_eq!(client.send("POST /api/reload", &own, "").await.status, StatusCode::ACCEPTED);
    });
}

#[test]
fn health_and_metrics_tell_the_same() {
    House::open().visit(|client| async move {
        let health = client.get("/api/health").await.good();
        assert_eq!(health["counts"]["painted"], 1);
        assert_eq!(health["gallery"]["pictures"], 1);
        assert!(health["resident_bytes"].as_u64().unwrap() > 1_000_000);
        let metrics = client.get("/metrics").await.text();
        assert!(metrics.contains("\npochade_pictures_total{result=\"painted\"} 1\n"), "{metrics}");
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let family = name.split('{').next().unwrap();
            assert!(metrics.contains(&format!("# TYPE {family} ")), "{line}");
        }
        let schedule = client.get("/api/schedule").await.good();
        assert_eq!((&schedule["playlist"], &schedule["quiet"]), (&json!("default"), &json!(false)));
        assert!(schedule["next_change"].as_str().unwrap().ends_with('Z'));
        assert_eq!(client.get("/api/screen.png").await.header("content-type"), "image/png");
    });
}

#[test]
fn the_board_is_told_as_it_changes_but_not_too_often_over_a_socket() {
    let house = House::open();
    let settings = WebSettings {
        listen: "127.0.0.1:0".to_owned().try_into().unwrap(),
        ..WebSettings::default()
    };
    let server = web::start(&settings, house.handle.clone()).unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address()).unwrap();
    let mut read = String::new();
    let mut read_until = |stream: &mut TcpStream, words: &str| {
        read.clear();
        let mut buffer = [0; 4096];
        while !read.contains(words) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "{read}");
            read.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        read.matches("event: state").count()
    };
    read_until(&mut stream, "event: state\ndata: {");
    let start = Instant::now();
    let wish = Wish { request: request(7, 50), ..Wish::default() };
    house.handle.desk.order(wish, |_| {}).unwrap();
    let told = read_until(&mut stream, "\"painted\":2");
    // Of more than fifty changes, one every quarter of a second.
    assert!(told <= 2 + start.elapsed().as_millis() as usize / 250, "{told}");
    let answered = Instant::now();
    drop(server);
    assert!(answered.elapsed() < Duration::from_secs(5));
    assert_eq!(stream.read(&mut [0; 4096]).map(|_| ()).err().map(|e| e.kind()), None);
}

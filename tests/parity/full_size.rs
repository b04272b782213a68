//! The networks everybody uses, at their full size and without their weights: every tensor that
//! diffusers has is read, in its shape, and no other.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;

use pochade::files::names::{self, NameMap};
use pochade::files::{Config, FileError, TensorSource, Weights};
use pochade::nets::{
    AutoencoderKl, AutoencoderKlConfig, AutoencoderTiny, AutoencoderTinyConfig, Conditioning,
    Halves, UNet, UNetConfig, UNetExtent,
};
use pochade_engine::{DType, Graph, Plan, TensorView};
use serde_json::Value as Json;

/// Tensors of zeros, and which of them were asked for.
#[derive(Debug)]
struct Zeros {
    shapes: HashMap<String, Vec<usize>>,
    zeros: Vec<u8>,
    asked: Mutex<BTreeSet<String>>,
}

impl Zeros {
    /// The tensors of a fixture by canonical names, and the config beside them.
    fn open(name: &str, map: fn(Config<'_>) -> Result<NameMap, FileError>) -> (Self, Json) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nets");
        let text = std::fs::read_to_string(folder.join(format!("full_size_{name}.json"))).unwrap();
        let mut json: HashMap<String, Json> = serde_json::from_str(&text).unwrap();
        let config = json.remove("config").unwrap();
        let map = map(Config::new(name, &config)).unwrap();
        let shape = |json: &Json| -> Vec<usize> { serde_json::from_value(json.clone()).unwrap() };
        let shapes: HashMap<String, Vec<usize>> = json
            .iter()
            .map(|(stored, json)| (map.canonical(stored).unwrap(), shape(json)))
            .collect();
        let largest = shapes.values().map(|shape| shape.iter().product()).max().unwrap_or(0);
        let zeros = vec![0; largest * DType::F16.bytes()];
        (Self { shapes, zeros, asked: Mutex::default() }, config)
    }

    /// Parameters of the tensors that were read.
    fn parameters(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|name| self.shapes[name].iter().product::<usize>()).sum()
    }

    /// Names of the tensors that were not read.
    fn left(&self) -> Vec<&String> {
        let asked = self.asked.lock().unwrap();
        self.shapes.keys().filter(|name| !asked.contains(*name)).collect()
    }
}

impl TensorSource for Zeros {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let shape = self.shapes.get(name)?;
        self.asked.lock().unwrap().insert(name.to_owned());
        let len = shape.iter().product::<usize>() * DType::F16.bytes();
        TensorView::new(DType::F16, shape, &self.zeros[..len])
    }

    fn origin(&self) -> &str {
        "zeros"
    }
}

/// Checks the tensors, and that a step on a latent of `side` pixels takes no more than `limit` MB
/// of intermediates on two threads.
fn check_unet(name: &str, config: UNetConfig, parameters: usize, (side, limit): (usize, usize)) {
    let (zeros, json) = Zeros::open(name, names::unet);
    assert_eq!(UNetConfig::from_diffusers(&json), Ok(config.clone()));
    let unet = UNet::load(&Weights::hollow(&zeros), &config).unwrap();
    assert_eq!(zeros.left(), Vec::<&String>::new());
    assert_eq!(zeros.parameters(), parameters);
    let extent = UNetExtent { batch: 1, height: side, width: side, tokens: 77 };
    let megabytes = plan(&unet, extent).activation_bytes(2) / 1_000_000;
    assert!(megabytes <= limit, "{megabytes} MB of intermediates");
}

/// The plan of one step.
fn plan(unet: &UNet, extent: UNetExtent) -> Plan {
    let mut g = Graph::new();
    let config = unet.config();
    let inputs = Conditioning::of(config).declare(&mut g, config, extent);
    let noise = unet.forward(&mut g, &inputs);
    g.output(noise);
    Plan::new(&g).unwrap()
}

#[test]
fn stable_diffusion_1_has_859_million_parameters() {
    check_unet("sd15", UNetConfig::sd15(), 859_520_964, (64, 110));
}

#[test]
fn stable_diffusion_xl_has_2567_million_parameters() {
    check_unet("sdxl", UNetConfig::sdxl(), 2_567_463_684, (128, 310));
}

#[test]
fn the_decoder_of_stable_diffusion_has_49_million_parameters() {
    let (zeros, json) = Zeros::open("kl_f8", names::autoencoder);
    let config = AutoencoderKlConfig::kl_f8();
    assert_eq!(AutoencoderKlConfig::from_diffusers(&json), Ok(config.clone()));
    AutoencoderKl::load(&Weights::hollow(&zeros), &config, Halves::Decoder).unwrap();
    assert_eq!(zeros.parameters(), 49_490_199);
    assert!(
        zeros.left().iter().all(|name| name.starts_with("encoder") || name.starts_with("quant"))
    );
}

#[test]
fn taesd_has_2_million_parameters() {
    let (zeros, json) = Zeros::open("taesd", names::autoencoder);
    let config = AutoencoderTinyConfig::taesd();
    assert_eq!(AutoencoderTinyConfig::from_diffusers(&json), Ok(config.clone()));
    AutoencoderTiny::load(&Weights::hollow(&zeros), &config, Halves::Both).unwrap();
    assert_eq!(zeros.left(), Vec::<&String>::new());
    assert_eq!(zeros.parameters(), 2_445_063);
}

//! The arguments of every command, and the reading of their values.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use image::{DynamicImage, ImageError, ImageReader};

use super::profile::ProfileView;
use crate::bench::{Arch, Part, Settings};
use crate::diffusion::SamplerKind;
use crate::files::FilterEncoding;
use crate::paint::{Beginning, Request, Size};

/// With what to paint, and how. What is not given is left to the model.
#[derive(Clone, Debug, Args)]
pub struct HowArgs {
    /// A model's file or folder [default: the one that comes with the program].
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,

    /// How many steps from noise to picture.
    #[arg(long, value_name = "N", value_parser = steps)]
    pub steps: Option<usize>,

    /// How strongly the prompt is followed; 1 or less for not more than the model does by itself.
    #[arg(long, value_name = "X", value_parser = guidance)]
    pub guidance: Option<f32>,

    /// Width and height in pixels. A model with a second stage paints small pictures without it.
    #[arg(long, value_name = "WxH", value_parser = Size::from_str)]
    pub size: Option<Size>,

    /// The way from noise to picture: ddim, euler, euler_a, dpm++2m, dpm++2m_karras, lcm or ddpm.
    #[arg(long, value_name = "NAME", value_parser = SamplerKind::from_str)]
    pub sampler: Option<SamplerKind>,

    /// What should not be seen.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub negative: String,

    /// How many threads work [default: one per core].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,

    /// The most memory to take, such as 256M or 1G; weights that do not fit are read from the
    /// model's file as they are needed.
    #[arg(long, value_name = "SIZE", value_parser = ram)]
    pub ram: Option<usize>,
}

/// What and how to paint. What is not given is left to the model.
#[derive(Clone, Debug, Args)]
pub struct PaintArgs {
    /// What should be seen.
    pub prompt: String,

    /// Where the picture goes; a file that is there is replaced. With more than one picture, a
    /// number is added to the name. A folder gets a name made from the prompt [default: here].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The number that decides the picture; the next pictures take the next numbers [default:
    /// drawn at random].
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,

    /// A picture to begin with, a PNG or JPEG file, instead of noise.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,

    /// How much may become of the picture to begin with, from 0 to 1.
    #[arg(long, value_name = "X", value_parser = strength, default_value = "0.75", requires = "from")]
    pub strength: f32,

    /// Where the picture to begin with may change: a picture that is white there and black elsewhere.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub mask: Option<PathBuf>,

    /// With what, and how.
    #[command(flatten)]
    pub how: HowArgs,

    /// How many pictures.
    #[arg(long, value_name = "N", value_parser = count, default_value = "1")]
    pub count: u64,

    /// Print one JSON object per picture instead of its path.
    #[arg(long)]
    pub json: bool,

    /// Say where the time went, by kind of operation or step by step (--profile=steps).
    #[arg(long, value_name = "VIEW", value_parser = ProfileView::from_str, num_args = 0..=1,
          require_equals = true, default_missing_value = "kinds")]
    pub profile: Option<ProfileView>,

    /// Do not show the picture in the terminal.
    #[arg(long)]
    pub no_preview: bool,

    /// Print nothing but the path.
    #[arg(short, long)]
    pub quiet: bool,
}

impl HowArgs {
    /// A request for no words yet.
    pub(super) fn request(&self) -> Request {
        Request {
            negative: self.negative.clone(),
            steps: self.steps,
            guidance: self.guidance,
            size: self.size,
            sampler: self.sampler,
            ram: self.ram,
            ..Request::default()
        }
    }
}

impl PaintArgs {
    /// The request for one picture, but for its seed.
    ///
    /// # Errors
    /// When the picture to begin with cannot be read.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let from = self.from.as_deref().map(|path| self.beginning(path)).transpose()?;
        Ok(Request { prompt: self.prompt.clone(), from, ..self.how.request() })
    }

    fn beginning(&self, path: &Path) -> anyhow::Result<Beginning> {
        let mask = self.mask.as_deref().map(read_picture).transpose()?;
        Ok(Beginning {
            image: Arc::new(read_picture(path)?.to_rgb8()),
            strength: self.strength,
            mask: mask.map(|mask| Arc::new(mask.to_luma8())),
        })
    }
}

fn read_picture(path: &Path) -> anyhow::Result<DynamicImage> {
    let read = || ImageReader::open(path)?.with_guessed_format()?.decode();
    read().map_err(|e: ImageError| {
        anyhow!("cannot read '{}': {e}; give a PNG or JPEG file", path.display())
    })
}

/// Which model to look into.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// A model's file or folder.
    pub model: PathBuf,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Whose networks: default, sd15, sdxl, small, taesd or kl-f8.
    #[arg(long, value_name = "NAME", value_parser = Arch::from_str, default_value = "default")]
    pub arch: Arch,

    /// Which of its networks: text, unet, decoder or all [default: single layers, then all].
    #[arg(long, value_name = "NAME", value_parser = parts)]
    pub part: Option<Parts>,

    /// Width and height of the picture in pixels; a latent has an eighth of both [default: what
    /// the architecture is made for].
    #[arg(long, value_name = "PIXELS", value_parser = side)]
    pub size: Option<usize>,

    /// How weights are kept: int8, int4, f16 or f32.
    #[arg(long, value_name = "NAME", value_parser = encoding, default_value = "int8")]
    pub weights: FilterEncoding,

    /// How many threads work [default: one per core].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,

    /// How many pictures a run computes; a guided step of painting takes two.
    #[arg(long, value_name = "N", value_parser = batch, default_value = "1")]
    pub batch: usize,

    /// How long each network is repeated; at least one run is timed.
    #[arg(long, value_name = "N", value_parser = seconds, default_value = "3")]
    pub seconds: f64,

    /// Time single layers and no networks.
    #[arg(long, conflicts_with_all = ["part", "profile"])]
    pub layers: bool,

    /// Say where the time went, by kind of operation or step by step (--profile=steps).
    #[arg(long, value_name = "VIEW", value_parser = ProfileView::from_str, num_args = 0..=1,
          require_equals = true, default_missing_value = "kinds")]
    pub profile: Option<ProfileView>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The networks that are asked for; none stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts(Option<Part>);

impl BenchArgs {
    /// What is to be measured.
    ///
    /// # Errors
    /// A sentence, when the arguments do not fit together.
    pub(super) fn settings(&self) -> Result<Settings, String> {
        let (arch, size) = (self.arch, self.size.unwrap_or(self.arch.native_size()));
        let multiple = arch.size_multiple();
        if !size.is_multiple_of(multiple) {
            return Err(format!("{arch} needs a --size that is a multiple of {multiple}"));
        }
        let parts = match self.part.and_then(|part| part.0) {
            _ if self.layers => Vec::new(),
            None => arch.parts().to_vec(),
            Some(part) if arch.parts().contains(&part) => vec![part],
            Some(part) => {
                let has: Vec<String> = arch.parts().iter().map(Part::to_string).collect();
                return Err(format!("{arch} has no {part}; choose --part {}", has.join(" or ")));
            }
        };
        Ok(Settings {
            arch,
            parts,
            size,
            weights: self.weights,
            threads: self.threads,
            batch: self.batch,
            patience: Duration::from_secs_f64(self.seconds),
            layers: self.layers || self.part.is_none(),
            profile: self.profile.is_some(),
        })
    }
}

/// Reads a number and keeps it if it is good.
pub(super) fn number<T: FromStr>(
    text: &str,
    wanted: &'static str,
    good: impl Fn(&T) -> bool,
) -> Result<T, &'static str> {
    text.trim().parse().ok().filter(good).ok_or(wanted)
}

pub(super) fn seed(text: &str) -> Result<u64, &'static str> {
    number(text, "a seed is a whole number from 0 to 18446744073709551615", |_| true)
}

fn steps(text: &str) -> Result<usize, &'static str> {
    number(text, "steps are a whole number from 1 to 1000", |n| (1..=1000).contains(n))
}

fn guidance(text: &str) -> Result<f32, &'static str> {
    let good = |x: &f32| x.is_finite() && *x >= 0.0;
    number(text, "guidance is a number of 0 or more, such as 7.5", good)
}

fn strength(text: &str) -> Result<f32, &'static str> {
    number(text, "a strength is a number from 0 to 1", |x| (0.0..=1.0).contains(x))
}

fn threads(text: &str) -> Result<usize, &'static str> {
    number(text, "threads are a whole number from 1 to 1024", |n| (1..=1024).contains(n))
}

fn count(text: &str) -> Result<u64, &'static str> {
    number(text, "a count is a whole number from 1 to 100000", |n| (1..=100_000).contains(n))
}

fn parts(text: &str) -> Result<Parts, &'static str> {
    match text {
        "all" => Ok(Parts(None)),
        "text" => Ok(Parts(Some(Part::Text))),
        "unet" => Ok(Parts(Some(Part::Unet))),
        "decoder" => Ok(Parts(Some(Part::Decoder))),
        _ => Err("choose one of text, unet, decoder, all"),
    }
}

fn encoding(text: &str) -> Result<FilterEncoding, &'static str> {
    match text {
        "int8" => Ok(FilterEncoding::Int8),
        "int4" => Ok(FilterEncoding::Int4),
        "f16" => Ok(FilterEncoding::F16),
        "f32" => Ok(FilterEncoding::F32),
        _ => Err("choose one of int8, int4, f16, f32"),
    }
}

fn side(text: &str) -> Result<usize, &'static str> {
    let wanted = "a size is a whole number of pixels from 8 to 16384, such as 512";
    number(text, wanted, |n| (8..=16_384).contains(n))
}

fn batch(text: &str) -> Result<usize, &'static str> {
    number(text, "a batch is a whole number from 1 to 64", |n| (1..=64).contains(n))
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    let wanted = "seconds are a number from 0 to 3600, such as 2.5";
    number(text, wanted, |n| (0.0..=3600.0).contains(n))
}

/// Bytes, from a number of mebibytes or gibibytes.
fn ram(text: &str) -> Result<usize, &'static str> {
    const WANTED: &str = "memory is a whole number of mebibytes or gibibytes, such as 256M or 1G";
    let text = text.trim().trim_end_matches("iB");
    let (digits, shift) = match text.strip_suffix(['G', 'g']) {
        Some(digits) => (digits, 30),
        None => (text.strip_suffix(['M', 'm']).ok_or(WANTED)?, 20),
    };
    Ok(number(digits, WANTED, |n: &usize| (1..1 << 14).contains(n))? << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::{CommandFactory, Parser};

    fn parse(arguments: &[&str]) -> Result<PaintArgs, String> {
        let start = ["pochade", "paint"];
        match Cli::try_parse_from(start.iter().chain(arguments)) {
            Ok(Cli { command: Command::Paint(args), .. }) => Ok(args),
            Ok(_) => Err("another command".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn memory_is_given_in_mebibytes_or_gibibytes() {
        assert_eq!(ram("256M"), Ok(256 << 20));
        assert_eq!(ram("300MiB"), Ok(300 << 20));
        assert_eq!(ram(" 2g "), Ok(2 << 30));
        for wrong in ["256", "M", "-1M", "0M", "1.5G", "99999999G", "1T", "256MB"] {
            assert!(ram(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_argument_reaches_the_request() {
        let args = parse(&[
            "a red sun",
            "--seed",
            "7",
            "--steps",
            "12",
            "--guidance",
            "3.5",
            "--size",
            "128x96",
            "--sampler",
            "DPM++ 2M Karras",
            "--negative",
            "fog",
        ])
        .unwrap();
        let wanted = Request {
            prompt: "a red sun".to_owned(),
            negative: "fog".to_owned(),
            seed: 7,
            toward: None,
            from: None,
            steps: Some(12),
            guidance: Some(3.5),
            size: Some(Size { width: 128, height: 96 }),
            sampler: Some(SamplerKind::DpmSolverKarras),
            ram: None,
            preview: false,
        };
        let request = Request { seed: args.seed.unwrap(), ..args.request().unwrap() };
        assert_eq!(request, wanted);
    }

    #[test]
    fn a_wrong_value_is_answered_with_one_sentence() {
        let first_line = |arguments: &[&str]| {
            let all: Vec<&str> = ["sun"].iter().chain(arguments).copied().collect();
            parse(&all).unwrap_err().lines().next().unwrap_or_default().to_owned()
        };
        let errors = [
            first_line(&["--size", "128"]),
            first_line(&["--size", "0x128"]),
            first_line(&["--size", "99999999999999999999x8"]),
            first_line(&["--steps", "0"]),
            first_line(&["--steps", "1001"]),
            first_line(&["--guidance=-1"]),
            first_line(&["--guidance", "nan"]),
            first_line(&["--guidance", "inf"]),
            first_line(&["--threads", "0"]),
            first_line(&["--seed=-1"]),
            first_line(&["--count", "many"]),
            first_line(&["--sampler", "heun"]),
        ];
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn help_tells_every_argument() {
        let mut command = Cli::command();
        let paint = command.find_subcommand_mut("paint").unwrap();
        insta::assert_snapshot!(paint.clone().term_width(100).render_help());
    }

    #[test]
    fn help_tells_every_argument_of_the_benchmark() {
        let mut command = Cli::command();
        let bench = command.find_subcommand_mut("bench").unwrap();
        insta::assert_snapshot!(bench.clone().term_width(100).render_help());
    }

    /// What a benchmark's arguments mean, or the first line of what is wrong with them.
    fn bench(arguments: &[&str]) -> Result<Settings, String> {
        let start = ["pochade", "bench"];
        let cli = Cli::try_parse_from(start.iter().chain(arguments)).and_then(Cli::checked);
        match cli.map(|cli| cli.command) {
            Ok(Command::Bench(args)) => args.settings(),
            Ok(_) => Err("another command".to_owned()),
            Err(error) => {
                assert_eq!(error.exit_code(), 2);
                Err(error.to_string().lines().next().unwrap_or_default().to_owned())
            }
        }
    }

    #[test]
    fn a_benchmark_is_of_layers_and_all_networks_unless_a_part_is_named() {
        let all = bench(&["--arch", "sd15"]).unwrap();
        assert!(all.layers && all.parts == [Part::Text, Part::Unet, Part::Decoder]);
        assert_eq!((all.size, all.batch, all.profile), (512, 1, false));
        let unet = bench(&["--arch", "sd15", "--part", "unet", "--size", "256", "--profile"]);
        let unet = unet.unwrap();
        assert!(!unet.layers && unet.profile && unet.parts == [Part::Unet]);
        assert_eq!(unet.size, 256);
        let layers = bench(&["--layers", "--weights", "int4"]).unwrap();
        assert!(layers.layers && layers.parts.is_empty());
        assert_eq!(layers.weights, FilterEncoding::Int4);
    }

    #[test]
    fn a_benchmark_that_makes_no_sense_is_answered_with_one_sentence() {
        let errors = [
            &["--arch", "sd3"][..],
            &["--arch", "taesd", "--part", "unet"],
            &["--arch", "sd15", "--size", "500"],
            &["--size", "0"],
            &["--part", "vae"],
            &["--weights", "int2"],
            &["--threads", "0"],
            &["--batch", "65"],
            &["--seconds", "nan"],
            &["--profile=layers"],
            &["--layers", "--part", "unet"],
        ]
        .map(|arguments| bench(arguments).unwrap_err());
        insta::assert_snapshot!(errors.join("\n"));
    }
}

//! PNG files that carry the text they were painted from.
//!
//! The text stands in a chunk called `parameters`, where other programs look for it: `tEXt` if
//! Latin-1 can spell it, else `iTXt`, as Pillow decides. A second chunk, of XMP, says that the
//! picture was made by a trained model, so that nobody is misled about it later.

use std::fmt;
use std::io::{BufRead, Cursor, Seek, Write};

use image::RgbImage;

/// The keyword of the chunk.
const KEYWORD: &str = "parameters";

/// The keyword of the chunk that holds XMP metadata.
const XMP_KEYWORD: &str = "XML:com.adobe.xmp";

/// Says that a model made the picture, in the term of the IPTC's vocabulary of digital sources.
const XMP: &str = "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
    <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
    <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
    <rdf:Description rdf:about=\"\" \
    xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\" \
    xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" xmp:CreatorTool=\"Pochade\" \
    Iptc4xmpExt:DigitalSourceType=\
    \"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia\"/>\
    </rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>";

/// The most text that is read from one chunk.
const MOST_TEXT: usize = 1 << 20;

/// Why a picture could not be encoded, or a file not be read.
#[derive(Debug)]
pub enum PngError {
    /// The picture cannot be written as PNG.
    Encode(::png::EncodingError),
    /// The bytes are no PNG, or a damaged one.
    Decode(::png::DecodingError),
}

impl fmt::Display for PngError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => write!(f, "the picture cannot be written as PNG: {error}"),
            Self::Decode(error) => write!(f, "this is not a PNG file that can be read: {error}"),
        }
    }
}

impl std::error::Error for PngError {}

/// The bytes of a PNG file of `image` that carries `parameters` and, unless they are empty, the
/// note that a model painted it.
///
/// # Errors
/// When the picture has no pixels.
pub fn encode(image: &RgbImage, parameters: &str) -> Result<Vec<u8>, PngError> {
    let mut bytes = Vec::new();
    write_png(&mut bytes, image, parameters).map_err(PngError::Encode)?;
    Ok(bytes)
}

fn write_png(
    bytes: &mut Vec<u8>,
    image: &RgbImage,
    parameters: &str,
) -> Result<(), ::png::EncodingError> {
    let mut writer = encoder(bytes, image.dimensions(), parameters)?.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()
}

/// An encoder of colour pictures of one size, which carry `parameters`.
pub(super) fn encoder<W: Write>(
    out: W,
    (width, height): (u32, u32),
    parameters: &str,
) -> Result<::png::Encoder<'static, W>, ::png::EncodingError> {
    let mut encoder = ::png::Encoder::new(out, width, height);
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    // A null character would end the text.
    let text = parameters.replace('\0', "");
    if text.chars().all(|c| u32::from(c) < 256) {
        encoder.add_text_chunk(KEYWORD.to_owned(), text)?;
    } else {
        encoder.add_itxt_chunk(KEYWORD.to_owned(), text)?;
    }
    if !parameters.is_empty() {
        encoder.add_itxt_chunk(XMP_KEYWORD.to_owned(), XMP.to_owned())?;
    }
    Ok(encoder)
}

/// The `parameters` that a PNG file carries, if any.
///
/// # Errors
/// When the bytes are no PNG, or a damaged one.
pub fn parameters(bytes: &[u8]) -> Result<Option<String>, PngError> {
    let decoder = ::png::Decoder::new(Cursor::new(bytes));
    let mut reader = decoder.read_info().map_err(PngError::Decode)?;
    if let Some(text) = find(reader.info()).map_err(PngError::Decode)? {
        return Ok(Some(text));
    }
    // Some programs write it behind the pixels.
    reader.finish().map_err(PngError::Decode)?;
    find(reader.info()).map_err(PngError::Decode)
}

/// What a PNG file says before its pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The `parameters`; empty where they are missing or stand behind the pixels.
    pub parameters: String,
}

/// Reads a PNG file as far as its pixels.
///
/// # Errors
/// When it is no PNG file, or a damaged one.
pub fn head(file: impl BufRead + Seek) -> Result<Head, PngError> {
    let reader = ::png::Decoder::new(file).read_info().map_err(PngError::Decode)?;
    let info = reader.info();
    let parameters = find(info).map_err(PngError::Decode)?.unwrap_or_default();
    Ok(Head { width: info.width, height: info.height, parameters })
}

fn find(info: &::png::Info<'_>) -> Result<Option<String>, ::png::DecodingError> {
    if let Some(chunk) = info.uncompressed_latin1_text.iter().find(|c| c.keyword == KEYWORD) {
        return Ok(Some(chunk.text.clone()));
    }
    if let Some(chunk) = info.utf8_text.iter().find(|c| c.keyword == KEYWORD) {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MOST_TEXT)?;
        return chunk.get_text().map(Some);
    }
    if let Some(chunk) = info.compressed_latin1_text.iter().find(|c| c.keyword == KEYWORD) {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MOST_TEXT)?;
        return chunk.get_text().map(Some);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8 * 50, y as u8 * 80, 7]))
    }

    #[test]
    fn the_pixels_come_back() {
        let bytes = encode(&picture(), "a red sun").unwrap();
        let back = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(back, picture());
    }

    #[test]
    fn a_picture_with_parameters_says_that_a_model_made_it() {
        let says = |parameters| {
            let file = encode(&picture(), parameters).unwrap();
            let reader = ::png::Decoder::new(Cursor::new(file)).read_info().unwrap();
            let texts = reader.info().utf8_text.iter().filter(|c| c.keyword == XMP_KEYWORD);
            texts.map(|chunk| chunk.get_text().unwrap()).collect::<Vec<_>>()
        };
        assert!(says("").is_empty());
        let [xmp] = &says("a red sun")[..] else { panic!("one chunk") };
        assert!(xmp.contains("digitalsourcetype/trainedAlgorithmicMedia"), "{xmp}");
    }

    #[test]
    fn latin_text_is_text_and_other_text_is_international_text() {
        let has = |text: &str, chunk: &[u8]| {
            encode(&picture(), text).unwrap().windows(8).any(|w| w == chunk)
        };
        assert!(has("café", b"tEXtpara") && !has("café", b"iTXtpara"));
        assert!(has("北斎の波", b"iTXtpara") && !has("北斎の波", b"tEXtpara"));
    }

    #[test]
    fn a_picture_without_pixels_is_refused() {
        assert!(encode(&RgbImage::new(0, 3), "").is_err());
    }

    #[test]
    fn a_picture_without_parameters_has_none() {
        let mut bytes = Cursor::new(Vec::new());
        picture().write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        assert_eq!(parameters(bytes.get_ref()).unwrap(), None);
    }

    /// The chunks of a file of one pixel that Pillow 13 wrote, and three that carry parameters.
    const START: &str = "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de";
    const PIXELS: &str = "0000000c49444154789c63606060000000040001f6173855";
    const END: &str = "0000000049454e44ae426082";
    const LATIN: &str = "\
        0000001874455874706172616d657465727300636166e90a53746570733a20312ce6f57c";
    const INTERNATIONAL: &str = "0000001269545874706172616d65746572730000000000e6b3a2e1fd4775";
    const COMPRESSED: &str = "\
        000000217a545874706172616d65746572730000789c4b4e4c7bc9155c925a506ca560080024b304\
        b821349cad";

    fn read(chunks: [&str; 4]) -> Option<String> {
        let hex = chunks.concat();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        parameters(&bytes).unwrap()
    }

    #[test]
    fn every_kind_of_text_that_pillow_writes_is_read() {
        let cafe = Some("café\nSteps: 1".to_owned());
        assert_eq!(read([START, LATIN, PIXELS, END]), cafe);
        assert_eq!(read([START, COMPRESSED, PIXELS, END]), cafe);
        assert_eq!(read([START, PIXELS, LATIN, END]), cafe);
        assert_eq!(read([START, INTERNATIONAL, PIXELS, END]), Some("波".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_without_its_null_characters(text in "\\PC{0,40}|[ -ÿ\n]{0,40}") {
            let bytes = encode(&picture(), &format!("{text}\0")).unwrap();
            prop_assert_eq!(parameters(&bytes).unwrap(), Some(text));
        }

        #[test]
        fn damaged_files_are_an_error_or_a_text_but_never_a_panic(
            at in 0usize..200, value in any::<u8>(), cut in 0usize..200,
        ) {
            let mut bytes = encode(&picture(), "a red sun over blue mountains").unwrap();
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = parameters(&bytes);
        }
    }
}

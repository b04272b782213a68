//! embedded-graphics draws on a picture through this.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Size};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use image::{Rgb, RgbImage};

/// A picture to draw on. What lies outside is left out.
#[derive(Debug)]
pub struct Canvas<'a>(pub &'a mut RgbImage);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Self::Color>>,
    {
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::Drawable;
    use embedded_graphics::prelude::{Point, Primitive, Transform};
    use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut picture = RgbImage::new(3, 2);
        let style = PrimitiveStyle::with_fill(Rgb888::new(1, 2, 3));
        let square = Rectangle::new(Point::new(-1, -1), Size::new(2, 2)).into_styled(style);
        let Ok(()) = square.draw(&mut Canvas(&mut picture));
        let Ok(()) = square.translate(Point::new(3, 2)).draw(&mut Canvas(&mut picture));
        let drawn: Vec<_> = picture
            .enumerate_pixels()
            .filter(|(.., p)| p.0 == [1, 2, 3])
            .map(|p| (p.0, p.1))
            .collect();
        assert_eq!(drawn, [(0, 0), (2, 1)]);
    }
}

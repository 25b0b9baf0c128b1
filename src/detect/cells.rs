//! Buckets as text: a version, then each bucket as a tag and its numbers bit by bit, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::model::{Point, Quantiles};

use super::memory::KEPT_TOGETHER;
use super::series::Cell;

/// The text of buckets.
pub(super) fn encode(cells: impl Iterator<Item = Cell>) -> String {
    let mut bytes = vec![1_u8];
    for cell in cells {
        put_cell(cell, &mut bytes);
    }
    STANDARD_NO_PAD.encode(bytes)
}

fn put_cell(cell: Cell, bytes: &mut Vec<u8>) {
    let mut put = |tag: u8, numbers: &[f64]| {
        bytes.push(tag);
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    };
    match cell {
        Cell::Unread => put(0, &[]),
        Cell::Absent => put(1, &[]),
        Cell::Present(Point::Count(number)) => put(2, &[number]),
        Cell::Present(Point::Ratio { part, whole }) => put(3, &[part, whole]),
        Cell::Present(Point::Mean { sum, count }) => put(4, &[sum, f64::from(count)]),
        Cell::Present(Point::Max(value)) => put(5, &[value]),
        Cell::Present(Point::Quantiles(found)) => {
            bytes.push(6);
            bytes.extend_from_slice(&found.count.to_le_bytes());
            for value in found.values {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// The buckets of a text; `None` if it is damaged, or not as many as belong together.
pub(super) fn decode(text: &str) -> Option<Vec<Cell>> {
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    let (&version, mut rest) = bytes.split_first()?;
    if version != 1 {
        return None;
    }
    let mut cells = Vec::new();
    while let Some((&tag, after)) = rest.split_first() {
        rest = after;
        cells.push(match tag {
            0 => Cell::Unread,
            1 => Cell::Absent,
            2 => Cell::Present(Point::Count(double(&mut rest)?)),
            3 => {
                let (part, whole) = (double(&mut rest)?, double(&mut rest)?);
                Cell::Present(Point::Ratio { part, whole })
            }
            4 => {
                let (sum, count) = (double(&mut rest)?, double(&mut rest)?);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "saturates, and was written from a u32"
                )]
                let count = count as u32;
                Cell::Present(Point::Mean { sum, count })
            }
            5 => Cell::Present(Point::Max(double(&mut rest)?)),
            6 => {
                let count = u32::from_le_bytes(take(&mut rest)?);
                let mut values = [0.0; 7];
                for value in &mut values {
                    *value = f32::from_le_bytes(take(&mut rest)?);
                }
                Cell::Present(Point::Quantiles(Quantiles { count, values }))
            }
            _ => return None,
        });
    }
    let full = i64::try_from(cells.len()).is_ok_and(|number| number == KEPT_TOGETHER);
    full.then_some(cells)
}

fn double(rest: &mut &[u8]) -> Option<f64> {
    take(rest).map(f64::from_le_bytes).filter(|number| number.is_finite())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

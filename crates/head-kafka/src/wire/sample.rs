// SPDX-License-Identifier: Apache-2.0
//! Tests only: messages filled with values that differ from each other, so that a field left out, swapped or of another width
//! shows.

use super::{Nullable, Records, Text, Uuid};
use bytes::Bytes;

/// Counts the fields made so far. `bare`: null and empty wherever that can be said, else two of everything.
pub struct Sampler {
    pub bare: bool,
    made: u8,
}

impl Sampler {
    pub fn new(bare: bool) -> Sampler {
        Sampler { bare, made: 0 }
    }

    fn next(&mut self) -> u8 {
        self.made = self.made % 100 + 1;
        self.made
    }
}

/// Something that can be made for a test.
pub trait Sample: Sized {
    fn sample(sampler: &mut Sampler) -> Self;
}

macro_rules! numbers {
    ($($number:ident)*) => { $(
        impl Sample for $number {
            fn sample(sampler: &mut Sampler) -> $number {
                $number::from_be_bytes([sampler.next(); size_of::<$number>()])
            }
        }
    )* };
}

numbers! { i8 i16 u16 i32 i64 }

impl Sample for bool {
    fn sample(sampler: &mut Sampler) -> bool {
        !sampler.bare
    }
}

impl Sample for Uuid {
    fn sample(sampler: &mut Sampler) -> Uuid {
        [sampler.next(); 16]
    }
}

impl Sample for Text {
    fn sample(sampler: &mut Sampler) -> Text {
        if sampler.bare { Text::EMPTY } else { Text::from(format!("text {}", sampler.next())) }
    }
}

impl Sample for Bytes {
    fn sample(sampler: &mut Sampler) -> Bytes {
        if sampler.bare { Bytes::new() } else { Bytes::from(vec![sampler.next(); 3]) }
    }
}

impl Sample for Records {
    fn sample(sampler: &mut Sampler) -> Records {
        if sampler.bare { Records::default() } else { Records(vec![Bytes::sample(sampler)]) }
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(sampler: &mut Sampler) -> Option<T> {
        (!sampler.bare).then(|| T::sample(sampler))
    }
}

impl<T: Sample> Sample for Nullable<T> {
    fn sample(sampler: &mut Sampler) -> Nullable<T> {
        Nullable(Option::sample(sampler))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(sampler: &mut Sampler) -> Vec<T> {
        // One element even in a bare message: what is in it is to be seen bare, too.
        let count = if sampler.bare { 1 } else { 2 };
        (0..count).map(|_| T::sample(sampler)).collect()
    }
}

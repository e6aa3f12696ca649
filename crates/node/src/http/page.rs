// SPDX-License-Identifier: Apache-2.0
//! Which part of a list is asked for: `limit` and `after`.

use super::answer::Refused;
use super::query;
use ops::api::operation::{PAGE_DEFAULT, PAGE_MAX};

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub limit: usize,
    pub after: Option<String>,
}

impl Page {
    /// Reads the two parameters.
    ///
    /// # Errors
    /// Which of them cannot be read.
    pub fn read(query: &str) -> Result<Page, Refused> {
        let mut page = Page { limit: PAGE_DEFAULT as usize, after: None };
        for (name, value) in query::read(query, &["limit", "after"]).map_err(Refused::wrong)? {
            match name {
                "limit" => match value.parse() {
                    Ok(limit @ 1..=PAGE_MAX) => page.limit = limit as usize,
                    _ => return Err(Refused::wrong(format!("limit is 1 to {PAGE_MAX}, not {value:?}"))),
                },
                _ => page.after = Some(value),
            }
        }
        Ok(page)
    }

    /// `after`, where what is listed has numbers.
    ///
    /// # Errors
    /// It is no number.
    pub fn after_number(&self) -> Result<Option<u32>, Refused> {
        let Some(after) = &self.after else { return Ok(None) };
        after.parse().map(Some).map_err(|_| Refused::wrong(format!("after is a number here, not {after:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_a_wrong_one_is_refused() {
        assert_eq!(Page::read("").unwrap(), Page { limit: 100, after: None });
        assert_eq!(Page::read("limit=1000&after=t").unwrap(), Page { limit: 1000, after: Some("t".into()) });
        for wrong in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "size=3"] {
            assert!(Page::read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Page::read("after=7").unwrap().after_number(), Ok(Some(7)));
        assert!(Page::read("after=t").unwrap().after_number().is_err());
    }
}

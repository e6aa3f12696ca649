// SPDX-License-Identifier: Apache-2.0
//! The nearest right name for a wrong one.

/// The candidate with the fewest single-letter edits, if it is near enough to be what was meant.
pub fn nearest(wrong: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    candidates
        .into_iter()
        .map(|candidate| {
            // Someone who knows the name but not its section is near, too.
            let whole = distance(wrong, &candidate);
            let without_section = 1 + distance(&last(wrong), &last(&candidate));
            (whole.min(without_section), whole, candidate)
        })
        .min()
        .filter(|(edits, _, candidate)| *edits <= 2 + candidate.len() / 5)
        .map(|(_, _, candidate)| candidate)
}

/// Letters to add, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..b.len() {
            let replaced = diagonal + usize::from(b[column] != letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_nothing_is_said() {
        let names = || ["kafka.default_partitions", "kafka.bind", "http.bind"].map(str::to_owned);
        assert_eq!(nearest("kafka.defualt_partitions", names()).as_deref(), Some("kafka.default_partitions"));
        assert_eq!(nearest("default_partitions", names()).as_deref(), Some("kafka.default_partitions"));
        assert_eq!(nearest("kafka.bnd", names()).as_deref(), Some("kafka.bind"));
        assert_eq!(nearest("completely.different", names()), None);
    }
}

//! The rules of `#[serde(rename_all = "..")]`.

/// `ident` by `rule`; as it is by a rule that serde does not know, which serde itself complains about.
pub(crate) fn renamed(ident: &str, rule: &str, variant: bool) -> String {
    let words = if variant { of_variant(ident) } else { ident.split('_').map(str::to_lowercase).collect() };
    let capital = |word: &String| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    match rule {
        "lowercase" => words.join(if variant { "" } else { "_" }).to_lowercase(),
        "UPPERCASE" => words.join(if variant { "" } else { "_" }).to_uppercase(),
        "PascalCase" => words.iter().map(capital).collect(),
        "camelCase" => {
            let mut name: String = words.iter().map(capital).collect();
            let first: String = name.drain(..name.chars().next().map_or(0, char::len_utf8)).collect();
            first.to_lowercase() + &name
        }
        "snake_case" => words.join("_"),
        "SCREAMING_SNAKE_CASE" => words.join("_").to_uppercase(),
        "kebab-case" => words.join("-"),
        "SCREAMING-KEBAB-CASE" => words.join("-").to_uppercase(),
        _ => ident.to_owned(),
    }
}

fn of_variant(ident: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in ident.chars() {
        if letter.is_uppercase() || words.is_empty() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::renamed;

    #[test]
    fn names_change_as_serde_changes_them() {
        for (rule, field, variant) in [
            ("lowercase", "tail_number", "landedlate"),
            ("UPPERCASE", "TAIL_NUMBER", "LANDEDLATE"),
            ("PascalCase", "TailNumber", "LandedLate"),
            ("camelCase", "tailNumber", "landedLate"),
            ("snake_case", "tail_number", "landed_late"),
            ("SCREAMING_SNAKE_CASE", "TAIL_NUMBER", "LANDED_LATE"),
            ("kebab-case", "tail-number", "landed-late"),
            ("SCREAMING-KEBAB-CASE", "TAIL-NUMBER", "LANDED-LATE"),
        ] {
            assert_eq!(renamed("tail_number", rule, false), field, "{rule}");
            assert_eq!(renamed("LandedLate", rule, true), variant, "{rule}");
        }
    }
}

//! What a plain scalar means: YAML 1.2.2, section 10.3.2 (core schema).

use super::tree::Value;

/// The value of a scalar that was written without quotes.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    integer(text)
        .or_else(|| float(text))
        .unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn integer(text: &str) -> Option<Value> {
    let based = |digits: &str, base| {
        let all = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
        all.then(|| i128::from_str_radix(digits, base).ok())
    };
    let number = if let Some(digits) = text.strip_prefix("0o") {
        based(digits, 8)?
    } else if let Some(digits) = text.strip_prefix("0x") {
        based(digits, 16)?
    } else {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let all = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        all.then(|| text.parse().ok())?
    };
    // A number that no field can have is still a number.
    Some(number.map_or(Value::Float(f64::INFINITY), Value::Integer))
}

fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let exponent_is_number = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let is_number = has_digits && digits(whole) && digits(fraction) && exponent_is_number;
    is_number.then(|| text.parse().ok())?.map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        for (text, expected) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("True", Value::Bool(true)),
            ("yes", Value::Text("yes".to_owned())),
            ("12", Value::Integer(12)),
            ("-12", Value::Integer(-12)),
            ("+12", Value::Integer(12)),
            ("012", Value::Integer(12)),
            ("0o17", Value::Integer(15)),
            ("0xfF", Value::Integer(255)),
            ("0x", Value::Text("0x".to_owned())),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1e3", Value::Float(1000.0)),
            ("1e", Value::Text("1e".to_owned())),
            (".", Value::Text(".".to_owned())),
            ("-", Value::Text("-".to_owned())),
            ("1.2.3", Value::Text("1.2.3".to_owned())),
            ("10.0.0.1", Value::Text("10.0.0.1".to_owned())),
            ("1_000", Value::Text("1_000".to_owned())),
            ("inf", Value::Text("inf".to_owned())),
        ] {
            assert_eq!(resolve(text), expected, "{text:?}");
        }
        let huge = "9".repeat(60);
        assert_eq!(resolve(&huge), Value::Float(f64::INFINITY));
    }
}

//! The distributions of the statistical tools: normal, Student's t and chi-squared, by series and continued fractions
//! with a bounded number of terms.

/// Maximum terms of a series or a continued fraction.
const TERMS_MAX: u32 = 500;
/// The relative change at which a series has converged.
const EPSILON: f64 = 1e-15;
/// The smallest magnitude of a term of a continued fraction.
const TINY: f64 = 1e-300;
/// Halvings of a search for a quantile.
const HALVINGS: u32 = 200;

/// The logarithm of the gamma function of a positive number (Lanczos).
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let base = x + 7.5;
    let sum = COEFFICIENTS
        .iter()
        .zip(1_u32..)
        .fold(0.999_999_999_999_809_9, |sum, (coefficient, index)| sum + coefficient / (x + f64::from(index)));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * base.ln() - base + sum.ln()
}

/// The upper part of the regularized incomplete gamma function.
fn gamma_upper(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        for _ in 0..TERMS_MAX {
            n += 1.0;
            term *= x / n;
            sum += term;
            if term < sum * EPSILON {
                break;
            }
        }
        return (1.0 - sum * scale).clamp(0.0, 1.0);
    }
    let (mut b, mut c) = (x + 1.0 - a, 1.0 / TINY);
    let mut d = 1.0 / b;
    let mut fraction = d;
    for i in 1..=TERMS_MAX {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = 1.0 / floor_magnitude(an * d + b);
        c = floor_magnitude(b + an / c);
        let change = d * c;
        fraction *= change;
        if (change - 1.0).abs() < EPSILON {
            break;
        }
    }
    (fraction * scale).clamp(0.0, 1.0)
}

/// The regularized incomplete beta function.
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    let value = if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    };
    value.clamp(0.0, 1.0)
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let mut c = 1.0;
    let mut d = 1.0 / floor_magnitude(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..=TERMS_MAX {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / floor_magnitude(1.0 + term * d);
            c = floor_magnitude(1.0 + term / c);
            fraction *= d * c;
        }
        if (d * c - 1.0).abs() < EPSILON {
            break;
        }
    }
    fraction
}

fn floor_magnitude(value: f64) -> f64 {
    if value.abs() < TINY { TINY } else { value }
}

/// The probability of a value of the standard normal distribution at least this far from zero.
pub(super) fn normal_two_sided(z: f64) -> f64 {
    gamma_upper(0.5, z * z / 2.0)
}

/// The quantile of the standard normal distribution.
pub(super) fn normal_quantile(probability: f64) -> f64 {
    let tail = 2.0 * probability.min(1.0 - probability);
    find_tail(tail, normal_two_sided) * (probability - 0.5).signum()
}

/// The probability of a value of Student's t at least this far from zero.
pub(super) fn t_two_sided(t: f64, freedom: f64) -> f64 {
    beta(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// The value of Student's t that is exceeded in magnitude with this probability.
pub(super) fn t_critical(probability: f64, freedom: f64) -> f64 {
    find_tail(probability, |t| t_two_sided(t, freedom))
}

/// The probability of a chi-squared value of at least this size.
pub(super) fn chi_squared_upper(value: f64, freedom: f64) -> f64 {
    gamma_upper(freedom / 2.0, value / 2.0)
}

/// The positive value at which a falling probability is this one.
fn find_tail(probability: f64, tail: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1e6_f64);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if tail(middle) > probability { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::{chi_squared_upper, normal_quantile, normal_two_sided, t_critical, t_two_sided};

    fn is_near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6
    }

    #[test]
    fn probabilities_are_those_of_the_tables() {
        assert!(is_near(normal_two_sided(1.959_963_985), 0.05), "{}", normal_two_sided(1.959_963_985));
        assert!(is_near(t_two_sided(2.228_138_852, 10.0), 0.05), "{}", t_two_sided(2.228_138_852, 10.0));
        assert!(is_near(chi_squared_upper(3.841_458_821, 1.0), 0.05), "{}", chi_squared_upper(3.841_458_821, 1.0));
        assert!(is_near(chi_squared_upper(18.307_038_05, 10.0), 0.05), "{}", chi_squared_upper(18.307_038_05, 10.0));
        assert!(is_near(normal_two_sided(0.0), 1.0) && normal_two_sided(40.0) < 1e-300);
    }

    #[test]
    fn quantiles_invert_probabilities() {
        assert!(is_near(normal_quantile(0.975), 1.959_963_985), "{}", normal_quantile(0.975));
        assert!(is_near(normal_quantile(0.025), -1.959_963_985));
        assert!(is_near(normal_quantile(0.8), 0.841_621_234), "{}", normal_quantile(0.8));
        assert!(is_near(t_critical(0.05, 4.0), 2.776_445_105), "{}", t_critical(0.05, 4.0));
    }

    #[test]
    fn extreme_values_end() {
        for value in [0.0, 1e-12, 1e12, f64::MAX] {
            assert!((0.0..=1.0).contains(&t_two_sided(value, 3.5)), "{value}");
            assert!((0.0..=1.0).contains(&chi_squared_upper(value, 1e6)), "{value}");
        }
    }
}

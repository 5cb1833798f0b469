#pragma once
// Loops over rows of logits that softmax is made of, vectorized for the machine they run on. Half precision is converted before.

#include <cstdint>

namespace sslmed::ops::cpu {

// The largest of x[0..n), n > 0.
float max_of(const float* x, std::int64_t n);
double max_of(const double* x, std::int64_t n);
// Sum of exp(scale * x - less); exponents above 0 by more than rounding are the caller's mistake.
float exp_sum(const float* x, std::int64_t n, float scale, float less);
double exp_sum(const double* x, std::int64_t n, double scale, double less);
// into = factor * exp(scale * x - less); `into` may be x.
void exp_into(const float* x, std::int64_t n, float scale, float less, float factor, float* into);
void exp_into(const double* x, std::int64_t n, double scale, double less, double factor, double* into);
// into = factor * exp(scale * x - less) + factors[i] * exp(scale * x - less_of[i]); `into` may be x.
void two_exps_into(const float* x, std::int64_t n, float scale, float less, float factor, const float* less_of, const float* factors, float* into);
void two_exps_into(const double* x, std::int64_t n, double scale, double less, double factor, const double* less_of, const double* factors, double* into);
// into = factors[i] * exp(scale * x - less_of[i]); `into` may be x.
void exps_into(const float* x, std::int64_t n, float scale, const float* less_of, const float* factors, float* into);
void exps_into(const double* x, std::int64_t n, double scale, const double* less_of, const double* factors, double* into);
// Adds sum(x * y) to `product` and sum(y) to `mass`.
void add_product(const float* x, const float* y, std::int64_t n, double& product, double& mass);
void add_product(const double* x, const double* y, std::int64_t n, double& product, double& mass);
// into -= factor * x.
void subtract_scaled(const float* x, std::int64_t n, float factor, float* into);
void subtract_scaled(const double* x, std::int64_t n, double factor, double* into);

}  // namespace sslmed::ops::cpu

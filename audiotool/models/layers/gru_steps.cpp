// The steps of a GRU over time, forwards and backwards, for training on a CPU: see gru_steps.py.
//
//     r, z = sigmoid(x_r + V_r h), sigmoid(x_z + V_z h)    q = V_n h + b    n = tanh(x_n + r q)    h' = n + z (h - n)
//
// Arrays are contiguous, time first, then sequences, then features. `size`, the number of features, is a multiple
// of LANES. The products of all steps with the input, and of gradients with it, are large matrices: PyTorch's.

#include <cstdint>
#include <cstring>

using Index = std::int64_t;

constexpr Index LANES = 8;

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef std::int32_t Integers __attribute__((vector_size(4 * LANES)));

static inline Vector load(const float *from) {
    Vector values;
    std::memcpy(&values, from, sizeof values);
    return values;
}

static inline void store(float *to, Vector values) { std::memcpy(to, &values, sizeof values); }

// Twelve sums at once keep two units of multiply-add busy, and fit the registers of AVX2.
template <Index ROWS, Index VECTORS>
static inline void add_block(Index inner, Index stride, Index columns, const float *a, const float *b, float *c) {
    Vector sums[ROWS][VECTORS];
    for (Index r = 0; r < ROWS; r++)
        for (Index v = 0; v < VECTORS; v++) sums[r][v] = load(c + r * columns + v * LANES);
    for (Index k = 0; k < inner; k++) {
        Vector row[VECTORS];
        for (Index v = 0; v < VECTORS; v++) row[v] = load(b + k * columns + v * LANES);
        for (Index r = 0; r < ROWS; r++)
            for (Index v = 0; v < VECTORS; v++) sums[r][v] += a[r * stride + k] * row[v];
    }
    for (Index r = 0; r < ROWS; r++)
        for (Index v = 0; v < VECTORS; v++) store(c + r * columns + v * LANES, sums[r][v]);
}

template <Index ROWS>
static void add_rows(Index inner, Index stride, Index columns, const float *a, const float *b, float *c) {
    Index n = 0;
    for (; n + 3 * LANES <= columns; n += 3 * LANES) add_block<ROWS, 3>(inner, stride, columns, a, b + n, c + n);
    for (; n < columns; n += LANES) add_block<ROWS, 1>(inner, stride, columns, a, b + n, c + n);
}

// c (rows, columns) += a (rows, inner) b (inner, columns); rows of `a` begin `stride` apart.
static void add_product(Index rows, Index inner, Index stride, Index columns, const float *a, const float *b, float *c) {
    Index r = 0;
    for (; r + 4 <= rows; r += 4) add_rows<4>(inner, stride, columns, a + r * stride, b, c + r * columns);
    for (; r + 2 <= rows; r += 2) add_rows<2>(inner, stride, columns, a + r * stride, b, c + r * columns);
    for (; r < rows; r++) add_rows<1>(inner, stride, columns, a + r * stride, b, c + r * columns);
}

// 1 / (1 + 2^y): 2^round(y) is an exponent, and 2^rest, from -0.5 to 0.5, a polynomial. The relative error is about
// 1e-7; NaN stays NaN.
static inline Vector sigmoid(Vector x) {
    const Vector limit = Vector{} + 87.0f;
    x = x < -limit ? -limit : x;
    x = x > limit ? limit : x;
    const Vector y = x * -1.44269504f;
    const Vector rounding = Vector{} + 12582912.0f;  // 1.5 * 2^23: a sum with it has no fraction
    const Vector whole = (y + rounding) - rounding;
    const Vector rest = y - whole;
    Vector power = Vector{} + 1.5403530e-4f;
    power = power * rest + 1.3333558e-3f;
    power = power * rest + 9.6181291e-3f;
    power = power * rest + 5.5504109e-2f;
    power = power * rest + 2.4022651e-1f;
    power = power * rest + 6.9314718e-1f;
    power = power * rest + 1.0f;
    const Integers bits = (__builtin_convertvector(whole, Integers) + 127) << 23;
    Vector scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return 1.0f / (1.0f + power * scale);
}

static inline Vector hyperbolic_tangent(Vector x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

// gates (T, B, 3H): the input's terms x_r, x_z and x_n with all biases but b; become r, z and n. q (T, B, H) is
// filled. states (T + 1, B, H): the first is given, the others are filled. recurrent (H, 3H): V_r, V_z, V_n
// transposed. work (B, 3H) is for intermediate results.
extern "C" void gru_forward(Index steps, Index batch, Index size, float *gates, float *q, float *states,
                            const float *recurrent, const float *bias, float *work) {
    for (Index t = 0; t < steps; t++) {
        const float *state = states + t * batch * size;
        for (Index b = 0; b < batch; b++) {
            std::memcpy(work + 3 * b * size, gates + 3 * (t * batch + b) * size, 2 * size * sizeof(float));
            std::memcpy(work + (3 * b + 2) * size, bias, size * sizeof(float));
        }
        add_product(batch, size, size, 3 * size, state, recurrent, work);
        for (Index b = 0; b < batch; b++) {
            const float *sums = work + 3 * b * size;
            float *gate = gates + 3 * (t * batch + b) * size;
            float *q_of = q + (t * batch + b) * size;
            float *next = states + ((t + 1) * batch + b) * size;
            for (Index i = 0; i < size; i += LANES) {
                const Vector r = sigmoid(load(sums + i));
                const Vector z = sigmoid(load(sums + size + i));
                const Vector recurrent_n = load(sums + 2 * size + i);
                const Vector n = hyperbolic_tangent(load(gate + 2 * size + i) + r * recurrent_n);
                store(gate + i, r);
                store(gate + size + i, z);
                store(gate + 2 * size + i, n);
                store(q_of + i, recurrent_n);
                store(next + i, n + z * (load(state + b * size + i) - n));
            }
        }
    }
}

// grads (T, B, 4H) is filled with the gradients of q, of the sums in r and z, and of the sum in n. gates, q and
// states are those of gru_forward. grad_y (T, B, H) are the outputs' gradients. recurrent (3H, H): V_n, V_r, V_z.
// grad_h (B, H) is the last state's gradient, and becomes the first one's.
extern "C" void gru_backward(Index steps, Index batch, Index size, const float *gates, const float *q,
                             const float *states, const float *grad_y, const float *recurrent, float *grads,
                             float *grad_h) {
    for (Index t = steps - 1; t >= 0; t--) {
        for (Index b = 0; b < batch; b++) {
            const Index at = (t * batch + b) * size;
            const float *gate = gates + 3 * at;
            float *grad = grads + 4 * at, *h = grad_h + b * size;
            for (Index i = 0; i < size; i += LANES) {
                const Vector r = load(gate + i), z = load(gate + size + i), n = load(gate + 2 * size + i);
                const Vector to_h = load(h + i) + load(grad_y + at + i);
                const Vector to_n = to_h * (1.0f - z) * (1.0f - n * n);
                const Vector to_q = to_n * r;
                store(grad + i, to_q);
                store(grad + size + i, to_q * load(q + at + i) * (1.0f - r));
                store(grad + 2 * size + i, to_h * (load(states + at + i) - n) * z * (1.0f - z));
                store(grad + 3 * size + i, to_n);
                store(h + i, to_h * z);
            }
        }
        add_product(batch, 3 * size, 4 * size, size, grads + 4 * t * batch * size, recurrent, grad_h);
    }
}

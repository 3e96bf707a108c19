// Fused elementwise operations and sums over features [B, C, H, W]; __init__.py documents what each kernel computes.
//
// Compiled at run time, once per type of the features: TYPE 0 is float32, 1 float16, 2 bfloat16. No header is needed.
// Arithmetic is in float32. Sums have a fixed order and use no atomics, so they are deterministic.
//
// Every kernel takes one KernelArgs. A thread reads a vector of V neighbouring elements, 16 bytes or one element:
//   LAST   channels_last: V channels of one pixel. Lanes (threadIdx.x) run over channels, rows (threadIdx.y) over pixels.
//   else   contiguous: V pixels of one channel. One lane, rows over pixels.
// A "unit" is what the rows run over: one pixel, or V pixels. A block processes `span` units of its lanes' channels.

#ifndef EMULATED  // tests/emulated.py compiles this file for the CPU
#define DEVICE __device__ __forceinline__
#endif

typedef long long Count;

#if TYPE == 0
typedef float T;
DEVICE float to_float(T x) { return x; }
DEVICE T from_float(float x) { return x; }
#else
struct T {
    unsigned short bits;
};
#if TYPE == 1
#ifdef EMULATED
DEVICE float to_float(T x) { return half_to_float(x.bits); }
DEVICE T from_float(float x) { return T{float_to_half(x)}; }
#else
DEVICE float to_float(T x) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
    return result;
}
DEVICE T from_float(float x) {
    T result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
    return result;
}
#endif
#else  // bfloat16: the upper half of a float32, rounded to nearest even
DEVICE unsigned int bits_of(float x) {
    union {
        float number;
        unsigned int bits;
    } both;
    both.number = x;
    return both.bits;
}
DEVICE float to_float(T x) {
    union {
        unsigned int bits;
        float number;
    } both;
    both.bits = (unsigned int)x.bits << 16;
    return both.number;
}
DEVICE T from_float(float x) {
    unsigned int bits = bits_of(x);
    bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return T{(unsigned short)(is_nan ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
#endif
#endif

#define WIDE (16 / (int)sizeof(T))  // elements in 16 bytes
#define THREADS 256                 // per block, at most

// Small operands are float32 if their bit is set in `kinds`, else of the features' type.
enum { FACTOR = 1, NOISE = 2, STRENGTH = 4, BIAS = 8, RESULT = 16, WEIGHT = 32 };

struct KernelArgs {  // the same fields, in this order, as in launch.py
    T *out;
    const T *grad, *x;
    const void *factor, *noise, *strength, *bias;  // factor [B, C]: the style or the demodulation
    const void *weight;                            // of a depthwise filter [C, side, side]
    void *result;                                  // sums, float32 or of the features' type
    float *partial;                                // sums of each slab [slabs, ...], float32; null where there is one slab
    Count images, channels, units, span;
    Count noise_step;                  // from one image's noise to the next: 0 or the number of pixels
    Count strength_step;               // 0 for a scalar, 1 for one per channel
    Count width, height;               // of a band; of a depthwise filter's output
    Count in_width, in_height; // of a depthwise filter's input
    Count left, top;                   // its padding
    Count columns, across;             // output columns per block; blocks side by side
    Count strides[4];                  // of a Haar transform's image: image, channel, row, column
    int kinds, flipped;                // flipped: use the filter flipped
    float slope, limit;                // limit < 0: no clamp
};

DEVICE float load_operand(const void *from, Count index, const KernelArgs &w, int kind) {
    return (w.kinds & kind) ? ((const float *)from)[index] : to_float(((const T *)from)[index]);
}
DEVICE void store_result(void *to, Count index, float x, const KernelArgs &w, int kind) {
    if (w.kinds & kind)
        ((float *)to)[index] = x;
    else
        ((T *)to)[index] = from_float(x);
}

template <int BYTES> struct VectorType;  // the type that is read at once
template <> struct VectorType<16> {
    typedef uint4 Type;
};
template <> struct VectorType<8> {
    typedef uint2 Type;
};
template <> struct VectorType<4> {
    typedef unsigned int Type;
};
template <> struct VectorType<2> {
    typedef unsigned short Type;
};
template <int V> union Vector {
    typename VectorType<V * sizeof(T)>::Type all;
    T each[V];
};

template <int V> DEVICE void load(const T *from, float (&x)[V]) {
    Vector<V> vector;
    vector.all = *(const typename VectorType<V * sizeof(T)>::Type *)from;
    for (int k = 0; k < V; k++) x[k] = to_float(vector.each[k]);
}
template <int V> DEVICE void store(T *to, const float (&x)[V]) {
    Vector<V> vector;
    for (int k = 0; k < V; k++) vector.each[k] = from_float(x[k]);
    *(typename VectorType<V * sizeof(T)>::Type *)to = vector.all;
}

// The elements of a thread: units unit, unit + step, ... below end.
template <bool LAST, int V> struct Place {
    Count image, channel, unit, end, step;

    DEVICE Place(const KernelArgs &w) {
        image = blockIdx.z;
        channel = LAST ? ((Count)blockIdx.y * blockDim.x + threadIdx.x) * V : blockIdx.y;
        unit = (Count)blockIdx.x * w.span + threadIdx.y;
        end = ((Count)blockIdx.x + 1) * w.span;
        if (end > w.units) end = w.units;
        if (channel >= w.channels) end = 0;
        step = blockDim.y;
    }
    DEVICE bool is_inside(const KernelArgs &w) const { return channel < w.channels; }
    // the offset in features with `times` as many channels, in the band-th part of them
    DEVICE Count at(const KernelArgs &w, Count unit, int times = 1, int band = 0) const {
        Count all = w.channels * times, own = band * w.channels + channel;
        return LAST ? (image * w.units + unit) * all + own : ((image * all + own) * w.units + unit) * V;
    }
    // a small operand for the channel of each element
    DEVICE void constants(const void *from, Count first, Count stride, const KernelArgs &w, int kind, float none,
                          float (&x)[V]) const {
        for (int k = 0; k < V; k++) {
            if (!from || !is_inside(w))
                x[k] = none;
            else
                x[k] = load_operand(from, first + (channel + (LAST ? k : 0)) * stride, w, kind);
        }
    }
    // the noise at the pixel of each element
    DEVICE void noise(const KernelArgs &w, Count unit, float (&x)[V]) const {
        for (int k = 0; k < V; k++) {
            if (!w.noise)
                x[k] = 0;
            else if (LAST)
                x[k] = k ? x[0] : load_operand(w.noise, image * w.noise_step + unit, w, NOISE);
            else
                x[k] = load_operand(w.noise, image * w.noise_step + unit * V + k, w, NOISE);
        }
    }
};

// Sums over the rows of a block; valid in row 0.
template <int V> DEVICE void over_rows(float (&x)[V]) {
    __shared__ float shared_sums[THREADS * V];
    __syncthreads();  // the previous sums have been read
    for (int k = 0; k < V; k++) shared_sums[(threadIdx.y * V + k) * blockDim.x + threadIdx.x] = x[k];
    for (unsigned rows = blockDim.y / 2; rows; rows /= 2) {
        __syncthreads();
        if (threadIdx.y < rows)
            for (int k = 0; k < V; k++)
                shared_sums[(threadIdx.y * V + k) * blockDim.x + threadIdx.x] +=
                    shared_sums[((threadIdx.y + rows) * V + k) * blockDim.x + threadIdx.x];
    }
    if (threadIdx.y == 0)
        for (int k = 0; k < V; k++) x[k] = shared_sums[k * blockDim.x + threadIdx.x];
}

// Sums over the lanes of a row; valid in lane 0.
DEVICE float over_lanes(float x) {
    __shared__ float shared_sums[THREADS];
    int own = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();
    shared_sums[own] = x;
    for (unsigned lanes = blockDim.x / 2; lanes; lanes /= 2) {
        __syncthreads();
        if (threadIdx.x < lanes) shared_sums[own] += shared_sums[own + lanes];
    }
    return shared_sums[own];
}

// Stores the sums of a slab for each of `times` as many channels: in w.partial, or in w.result, there divided by
// w.factor if `divided`.
template <bool LAST, int V>
DEVICE void put_sums(const KernelArgs &w, const Place<LAST, V> &place, float (&sums)[V], bool divided, int times = 1,
                     int band = 0) {
    if (!LAST)
        for (int k = 1; k < V; k++) sums[0] += sums[k];
    float own[LAST ? V : 1];
    for (int k = 0; k < (LAST ? V : 1); k++) own[k] = sums[k];
    over_rows(own);
    if (threadIdx.y || !place.is_inside(w)) return;
    Count all = times * w.channels, first = place.image * all + band * w.channels + place.channel;
    for (int k = 0; k < (LAST ? V : 1); k++) {
        if (w.partial)
            w.partial[blockIdx.x * w.images * all + first + k] = own[k];
        else
            store_result(w.result, first + k, divided ? own[k] / load_operand(w.factor, first + k, w, FACTOR) : own[k], w, RESULT);
    }
}

DEVICE float rounded(float x) { return to_float(from_float(x)); }

// clamp(leaky(x * factor + noise * strength + bias)) for the V elements of a thread.
template <bool LAST, int V> struct Formula {
    float factor[V], strength[V], bias[V], slope, limit;

    DEVICE Formula(const KernelArgs &w, const Place<LAST, V> &place) {
        slope = w.slope;
        limit = w.limit < 0 ? -1 : rounded(w.limit);
        place.constants(w.factor, place.image * w.channels, 1, w, FACTOR, 1, factor);
        place.constants(w.strength, 0, w.strength_step, w, STRENGTH, 0, strength);
        place.constants(w.bias, 0, 1, w, BIAS, 0, bias);
    }
    DEVICE void apply(const float (&noise)[V], float (&x)[V]) const {
        for (int k = 0; k < V; k++) {
            float y = x[k] * factor[k] + (noise[k] * strength[k] + bias[k]);
            y = y > 0 ? y : y * slope;
            if (limit >= 0) y = y > limit ? limit : y < -limit ? -limit : y;
            x[k] = y;
        }
    }
};

// out = formula(x); out may be x.
template <bool LAST, int V> DEVICE void epilogue(const KernelArgs &w) {
    Place<LAST, V> place(w);
    Formula<LAST, V> formula(w, place);
    for (Count unit = place.unit; unit < place.end; unit += place.step) {
        float x[V], noise[V];
        load(w.x + place.at(w, unit), x);
        place.noise(w, unit, noise);
        formula.apply(noise, x);
        store(w.out + place.at(w, unit), x);
    }
}

// grad, x = the epilogue's result -> out = the gradient of the epilogue's input; out may be grad. If w.result or
// w.partial is set, also the gradient of factor (in w.partial not yet divided by factor): the sums over pixels of
// grad * input * factor = clamped grad * result - rectified grad * (noise * strength + bias).
template <bool LAST, int V> DEVICE void epilogue_back(const KernelArgs &w) {
    Place<LAST, V> place(w);
    Formula<LAST, V> own(w, place);
    bool summed = w.result || w.partial;
    float sums[V];
    for (int k = 0; k < V; k++) sums[k] = 0;
    for (Count unit = place.unit; unit < place.end; unit += place.step) {
        float grad[V], y[V], noise[V];
        load(w.grad + place.at(w, unit), grad);
        load(w.x + place.at(w, unit), y);
        if (summed) place.noise(w, unit, noise);
        for (int k = 0; k < V; k++) {
            if (own.limit >= 0 && (y[k] >= own.limit || y[k] <= -own.limit)) grad[k] = 0;
            float rectified = y[k] > 0 ? grad[k] : grad[k] * own.slope;
            if (summed) sums[k] += grad[k] * y[k] - rectified * (noise[k] * own.strength[k] + own.bias[k]);
            grad[k] = rectified * own.factor[k];
        }
        store(w.out + place.at(w, unit), grad);
    }
    if (summed) put_sums(w, place, sums, true);
}

// out = grad * factor; out may be grad or null. Also the sums over pixels of grad * x.
template <bool LAST, int V> DEVICE void style_back(const KernelArgs &w) {
    Place<LAST, V> place(w);
    float factor[V], sums[V];
    place.constants(w.factor, place.image * w.channels, 1, w, FACTOR, 1, factor);
    for (int k = 0; k < V; k++) sums[k] = 0;
    for (Count unit = place.unit; unit < place.end; unit += place.step) {
        float grad[V], x[V];
        load(w.grad + place.at(w, unit), grad);
        load(w.x + place.at(w, unit), x);
        for (int k = 0; k < V; k++) {
            sums[k] += grad[k] * x[k];
            grad[k] *= factor[k];
        }
        if (w.out) store(w.out + place.at(w, unit), grad);
    }
    put_sums(w, place, sums, false);
}

// result [maps, 1, H, W] = the sums of grad * strength / factor over channels, and over the images that share a map.
// LAST: lanes over channels, rows over pixels; else lanes over pixels, rows over channels. grid.y: the maps.
template <bool LAST, int V> DEVICE void noise_back(const KernelArgs &w) {
    Count lane = threadIdx.x, row = threadIdx.y, shared = w.images / gridDim.y, map = blockIdx.y;
    Count pixel = LAST ? (Count)blockIdx.x * blockDim.y + row : (Count)blockIdx.x * blockDim.x + lane;
    Count first = LAST ? lane * V : row, step = LAST ? (Count)blockDim.x * V : blockDim.y;
    float sums[1] = {0};
    for (Count image = map * shared; image < (map + 1) * shared && pixel < w.units; image++)
        for (Count channel = first; channel < w.channels; channel += step) {
            float grad[V];
            load(w.grad + (LAST ? (image * w.units + pixel) * w.channels + channel
                                : (image * w.channels + channel) * w.units + pixel), grad);
            for (int k = 0; k < V; k++) {
                float factor = w.factor ? load_operand(w.factor, image * w.channels + channel + k, w, FACTOR) : 1;
                sums[0] += grad[k] * load_operand(w.strength, (channel + k) * w.strength_step, w, STRENGTH) / factor;
            }
        }
    if (LAST)
        sums[0] = over_lanes(sums[0]);
    else
        over_rows(sums);
    if (pixel < w.units && (LAST ? lane : row) == 0) store_result(w.result, map * w.units + pixel, sums[0], w, RESULT);
}

// result [channels] = the sums over w.units slabs of partial, divided by w.factor if set.
DEVICE void finish_sums(const KernelArgs &w) {
    Count own = (Count)blockIdx.x * blockDim.x + threadIdx.x;
    float sums[1] = {0};
    if (own < w.channels)
#pragma unroll 8
        for (Count slab = threadIdx.y; slab < w.units; slab += blockDim.y) sums[0] += w.partial[slab * w.channels + own];
    over_rows(sums);
    if (threadIdx.y == 0 && own < w.channels)
        store_result(w.result, own, w.factor ? sums[0] / load_operand(w.factor, own, w, FACTOR) : sums[0], w, RESULT);
}

// Bands x [B, 4C, H, W] (ll, lh, hl, hh) times factor [B, 4C] -> out [B, C, 2H, 2W]. Units are pixels of a band.
template <bool LAST, int V> DEVICE void haar(const KernelArgs &w) {
    Place<LAST, V> place(w);
    float factor[4][V];
    for (int band = 0; band < 4; band++)
        place.constants(w.factor, (place.image * 4 + band) * w.channels, 1, w, FACTOR, 1, factor[band]);
    for (Count unit = place.unit; unit < place.end; unit += place.step) {
        float x[4][V];
        Count row = unit / w.width, column = unit - row * w.width;
        T *to = w.out + place.image * w.strides[0] + place.channel * w.strides[1] + 2 * row * w.strides[2] +
                2 * column * w.strides[3];
        for (int band = 0; band < 4; band++) load(w.x + place.at(w, unit, 4, band), x[band]);
        for (int k = 0; k < V; k++) {
            float ll = x[0][k] * factor[0][k], lh = x[1][k] * factor[1][k];
            float hl = x[2][k] * factor[2][k], hh = x[3][k] * factor[3][k];
            x[0][k] = (ll + lh) + (hl + hh);
            x[1][k] = (ll + lh) - (hl + hh);
            x[2][k] = (ll - lh) + (hl - hh);
            x[3][k] = (ll - lh) - (hl - hh);
        }
        store(to, x[0]);
        store(to + w.strides[3], x[1]);
        store(to + w.strides[2], x[2]);
        store(to + w.strides[2] + w.strides[3], x[3]);
    }
}

// grad [B, C, 2H, 2W], x = the bands -> out = the gradient of the bands. With a factor, also the sums over pixels of
// transformed grad * x, [B, 4C].
template <bool LAST, int V> DEVICE void haar_back(const KernelArgs &w) {
    Place<LAST, V> place(w);
    float factor[4][V], sums[4][V];
    for (int band = 0; band < 4; band++) {
        place.constants(w.factor, (place.image * 4 + band) * w.channels, 1, w, FACTOR, 1, factor[band]);
        for (int k = 0; k < V; k++) sums[band][k] = 0;
    }
    for (Count unit = place.unit; unit < place.end; unit += place.step) {
        float g[4][V];
        Count row = unit / w.width, column = unit - row * w.width;
        const T *from = w.grad + place.image * w.strides[0] + place.channel * w.strides[1] + 2 * row * w.strides[2] +
                        2 * column * w.strides[3];
        load(from, g[0]);
        load(from + w.strides[3], g[1]);
        load(from + w.strides[2], g[2]);
        load(from + w.strides[2] + w.strides[3], g[3]);
        for (int k = 0; k < V; k++) {
            float top = g[0][k] + g[1][k], bottom = g[2][k] + g[3][k];
            float left = g[0][k] - g[1][k], right = g[2][k] - g[3][k];
            g[0][k] = top + bottom;
            g[1][k] = top - bottom;
            g[2][k] = left + right;
            g[3][k] = left - right;
        }
        for (int band = 0; band < 4; band++) {
            if (w.factor) {
                float x[V];
                load(w.x + place.at(w, unit, 4, band), x);
                for (int k = 0; k < V; k++) {
                    sums[band][k] += g[band][k] * x[k];
                    g[band][k] *= factor[band][k];
                }
            }
            store(w.out + place.at(w, unit, 4, band), g[band]);
        }
    }
    if (w.factor)
        for (int band = 0; band < 4; band++) put_sums(w, place, sums[band], false, 4, band);
}

// out = formula(a depthwise filter of SIDE x SIDE taps over channels_last features x). If sums are wanted, grad holds
// the input of the forward filter, and the sums are those over pixels of filtered x * grad.
// A thread walks down one column and keeps the rows that its next pixel needs. A block covers `columns` columns, with
// several threads below each other, and each thread processes `span` pixels.
template <int SIDE, int V> DEVICE void depthwise(const KernelArgs &w) {
    Place<true, V> place(w);
    Formula<true, V> formula(w, place);
    bool summed = w.result || w.partial, inside = place.is_inside(w);
    Count below = threadIdx.y / w.columns;
    Count column = (blockIdx.x % w.across) * w.columns + threadIdx.y % w.columns;
    Count row = ((blockIdx.x / w.across) * (blockDim.y / w.columns) + below) * w.span, end = row + w.span;
    if (end > w.height) end = w.height;
    if (!inside || column >= w.width) end = 0;
    float taps[SIDE][SIDE][V], rows[SIDE][SIDE][V], sums[V];
    for (int k = 0; k < V; k++) {
        sums[k] = 0;
        for (int tap = 0; tap < SIDE * SIDE; tap++)
            taps[tap / SIDE][tap % SIDE][k] = !inside ? 0 : load_operand(
                w.weight, (place.channel + k) * SIDE * SIDE + (w.flipped ? SIDE * SIDE - 1 - tap : tap), w, WEIGHT);
    }
    // rows -SIDE + 1 ... -1 only fill the kept rows
    for (Count at = row - SIDE + 1; at < end && row < end; at++) {
        Count y = at + SIDE - 1 - w.top;  // the new row
        for (int i = 0; i + 1 < SIDE; i++)
            for (int j = 0; j < SIDE; j++)
                for (int k = 0; k < V; k++) rows[i][j][k] = rows[i + 1][j][k];
        for (int j = 0; j < SIDE; j++) {
            Count x = column - w.left + j;
            if (y >= 0 && y < w.in_height && x >= 0 && x < w.in_width)
                load(w.x + ((place.image * w.in_height + y) * w.in_width + x) * w.channels + place.channel,
                     rows[SIDE - 1][j]);
            else
                for (int k = 0; k < V; k++) rows[SIDE - 1][j][k] = 0;
        }
        if (at < row) continue;
        float filtered[V], noise[V];
        for (int k = 0; k < V; k++) {
            filtered[k] = 0;
            for (int tap = 0; tap < SIDE * SIDE; tap++)
                filtered[k] += taps[tap / SIDE][tap % SIDE][k] * rows[tap / SIDE][tap % SIDE][k];
        }
        Count unit = at * w.width + column;
        if (summed) {
            float before[V];
            load(w.grad + place.at(w, unit), before);
            for (int k = 0; k < V; k++) sums[k] += filtered[k] * before[k];
        }
        place.noise(w, unit, noise);
        formula.apply(noise, filtered);
        if (w.out) store(w.out + place.at(w, unit), filtered);
    }
    if (summed) put_sums(w, place, sums, false);
}

#ifndef EMULATED  // each kernel is compiled alone: NAME is an instance BODY of a template
extern "C" __global__ void __launch_bounds__(THREADS) NAME(const KernelArgs w) { BODY(w); }
#endif

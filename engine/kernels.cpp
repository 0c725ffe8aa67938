// A DiT block on CPUs with AVX-512, VNNI and bf16: 8-bit products fused with what stands around them, and
// attention that keeps its scores in cache. `engine/native.py` builds and describes it.
//
// All products are made of one tile: up to six rows by 64 columns, which are four vectors, and one head. Rows
// are shared among torch's own threads. Weights are 64 columns to a panel, four (int8) or two (bf16) of the
// summed index side by side, as the instructions want them.

#include <immintrin.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kRows = 6, kCols = 64, kLanes = 16, kVectors = kCols / kLanes;
constexpr int64_t kBlock = 16 * kRows;  // rows that one task carries through a panel of weights
constexpr int64_t kZero = 128;          // stands for 0 among activations, which are unsigned

// A loop that is unrolled, so that what it indexes can stay in registers.
#define EACH(index, count) _Pragma("GCC unroll 8") for (int index = 0; index < (count); ++index)

struct Tile {
  __m512 value[kRows][kVectors];
};

inline int32_t word(const void* from) {
  int32_t bits;
  std::memcpy(&bits, from, 4);
  return bits;
}

// 2^x: the whole part by the exponent, the rest by a polynomial of degree six (relative error below 1e-6).
inline __m512 exp2(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 rest = _mm512_sub_ps(x, whole);
  __m512 sum = _mm512_set1_ps(1.535336188e-4f);
  for (const float factor :
       {1.339887440e-3f, 9.618437357e-3f, 5.550332548e-2f, 2.402264791e-1f, 6.931472028e-1f, 1.0f})
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(factor));
  return _mm512_scalef_ps(sum, whole);
}

// GELU in its tanh form, x * sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
inline __m512 gelu(__m512 x) {
  const __m512 square = _mm512_mul_ps(x, x);
  const __m512 inner = _mm512_fmadd_ps(square, _mm512_set1_ps(0.044715f), _mm512_set1_ps(1.0f));
  const float factor = -2.0f * 0.7978845608f * 1.4426950409f;
  const __m512 power = exp2(_mm512_mul_ps(_mm512_mul_ps(x, inner), _mm512_set1_ps(factor)));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), power));
}

// A linear layer in 8 bits: what `native.pack` gives.
struct Weights {
  const int8_t* panels;   // [outputs / 64][inputs / 4][64][4]
  const int32_t* offset;  // [outputs], -128 times each column's sum
  const float* scale;     // [outputs]
  const float* bias;      // [outputs]
  int64_t inputs, outputs;

  Weights(const Tensor& packed, const Tensor& offsets, const Tensor& scales, const Tensor& biases)
      : panels(packed.const_data_ptr<int8_t>()), offset(offsets.const_data_ptr<int32_t>()),
        scale(scales.const_data_ptr<float>()), bias(biases.const_data_ptr<float>()),
        inputs(packed.size(1) * 4), outputs(packed.size(0) * kCols) {
    STD_TORCH_CHECK(packed.dim() == 4 && packed.size(2) == kCols && packed.size(3) == 4 && packed.is_contiguous());
    STD_TORCH_CHECK(offsets.numel() == outputs && scales.numel() == outputs && biases.numel() == outputs);
  }
};

// Written out: GCC 12 copies the sum of an intrinsic to another register, and to the stack, at every step.
inline void add_product(__m512i& sum, __m512i row, __m512i column) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(row), "v"(column));
}

inline void add_product(__m512& sum, __m512i row, __m512i column) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(row), "v"(column));
}

// Not inlined, so that its sums stay in registers wherever it is called.
template <int R>
__attribute__((noinline)) void product(const uint8_t* codes, const Weights& w, int64_t panel, const float* step, Tile& tile) {
  __m512i sum[R][kVectors];
  const int32_t* offset = w.offset + panel * kCols;
  EACH(v, kVectors)
    EACH(r, R) sum[r][v] = _mm512_loadu_si512(offset + v * kLanes);
  const int8_t* b = w.panels + panel * kCols * w.inputs;
  for (int64_t k = 0; k < w.inputs; k += 4, b += 4 * kCols) {
    __m512i column[kVectors];
    EACH(v, kVectors) column[v] = _mm512_loadu_si512(b + v * 4 * kLanes);
    EACH(r, R) {
      const __m512i row = _mm512_set1_epi32(word(codes + r * w.inputs + k));
      EACH(v, kVectors) add_product(sum[r][v], row, column[v]);
    }
  }
  EACH(v, kVectors) {
    const __m512 scale = _mm512_loadu_ps(w.scale + panel * kCols + v * kLanes);
    const __m512 bias = _mm512_loadu_ps(w.bias + panel * kCols + v * kLanes);
    EACH(r, R) {
      const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][v]), _mm512_set1_ps(step[r]));
      tile.value[r][v] = _mm512_fmadd_ps(value, scale, bias);
    }
  }
}

// codes [rows, inputs] by all panels of the weights; `finish(row, panel, tile, count)` takes each tile.
template <class Finish>
inline void products(const uint8_t* codes, const float* step, int64_t rows, const Weights& w, Finish finish) {
  Tile tile;
  for (int64_t panel = 0; panel < w.outputs / kCols; ++panel)
    for (int64_t row = 0; row < rows; row += kRows) {
      const int64_t count = std::min(kRows, rows - row);
      const uint8_t* from = codes + row * w.inputs;
      switch (count) {
        case 1: product<1>(from, w, panel, step + row, tile); break;
        case 2: product<2>(from, w, panel, step + row, tile); break;
        case 3: product<3>(from, w, panel, step + row, tile); break;
        case 4: product<4>(from, w, panel, step + row, tile); break;
        case 5: product<5>(from, w, panel, step + row, tile); break;
        default: product<6>(from, w, panel, step + row, tile);
      }
      finish(row, panel, tile, count);
    }
}

// One row [width] to codes around 128; gives the step that one code stands for.
inline float quantize(const float* row, int64_t width, uint8_t* codes) {
  __m512 largest = _mm512_setzero_ps();
  for (int64_t c = 0; c < width; c += kLanes)
    largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(row + c)));
  const float step = std::max(_mm512_reduce_max_ps(largest) / 127.0f, std::numeric_limits<float>::min());
  const __m512 inverse = _mm512_set1_ps(1.0f / step);
  for (int64_t c = 0; c < width; c += kLanes) {
    const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(row + c), inverse));
    const __m512i shifted = _mm512_add_epi32(code, _mm512_set1_epi32(kZero));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + c), _mm512_cvtepi32_epi8(shifted));
  }
  return step;
}

// One row through an adaptive layer norm, ((x - mean) / deviation) (1 + scale) + shift, into `out`.
inline void normalise(const float* row, int64_t width, const float* scale, const float* shift, float* out) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t c = 0; c < width; c += kLanes) sum = _mm512_add_ps(sum, _mm512_loadu_ps(row + c));
  const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width);
  __m512 squares = _mm512_setzero_ps();
  for (int64_t c = 0; c < width; c += kLanes) {
    const __m512 off = _mm512_sub_ps(_mm512_loadu_ps(row + c), mean);
    squares = _mm512_fmadd_ps(off, off, squares);
  }
  const __m512 inverse = _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / width + 1e-6f));
  for (int64_t c = 0; c < width; c += kLanes) {
    const __m512 even = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + c), mean), inverse);
    const __m512 factor = _mm512_add_ps(_mm512_loadu_ps(scale + c), _mm512_set1_ps(1.0f));
    _mm512_storeu_ps(out + c, _mm512_fmadd_ps(even, factor, _mm512_loadu_ps(shift + c)));
  }
}

// What each task needs for itself: a block of rows as codes, and their steps.
struct Scratch {
  std::vector<float> row, step;
  std::vector<uint8_t> codes;
  Scratch(int64_t width) : row(width), step(kBlock), codes(kBlock * width) {}
};

template <class Work>
void in_blocks(int64_t rows, Work work) {
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  torch::stable::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      work(block * kBlock, std::min(kBlock, rows - block * kBlock));
  });
}

inline __m512 turned(__m512 heads, __m512 angles) {  // pairs (x, y) by tables (cos, sin)
  const __m512 cosine = _mm512_moveldup_ps(angles), sine = _mm512_movehdup_ps(angles);
  return _mm512_fmaddsub_ps(heads, cosine, _mm512_mul_ps(_mm512_permute_ps(heads, 0xB1), sine));
}

void check_rows(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 3 && x.is_contiguous() && x.scalar_type() == ScalarType::Float && x.size(2) % kCols == 0);
}

// x [b, n, d] float -> queries, keys and values [3, b, heads, n, 64], of which the first `turning` heads are
// turned by the table [n, 32, 2]; bf16 where `half`.
Tensor project(const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& packed,
               const Tensor& offset, const Tensor& scales, const Tensor& bias, const Tensor& angles,
               int64_t turning, bool half) {
  check_rows(x);
  const Weights w(packed, offset, scales, bias);
  const int64_t batch = x.size(0), frames = x.size(1), width = x.size(2), heads = w.outputs / (3 * kCols);
  STD_TORCH_CHECK(w.inputs == width && angles.is_contiguous() && angles.numel() == frames * kCols);
  Tensor out = torch::stable::empty({3, batch, heads, frames, kCols}, half ? ScalarType::BFloat16 : ScalarType::Float);
  const float* table = angles.const_data_ptr<float>();
  const float *from = x.const_data_ptr<float>(), *a = scale.const_data_ptr<float>(), *b = shift.const_data_ptr<float>();
  char* to = static_cast<char*>(out.mutable_data_ptr());
  const int64_t size = half ? 2 : 4;
  in_blocks(batch * frames, [&](int64_t start, int64_t rows) {
    Scratch own(width);
    for (int64_t r = 0; r < rows; ++r) {
      normalise(from + (start + r) * width, width, a, b, own.row.data());
      own.step[r] = quantize(own.row.data(), width, own.codes.data() + r * width);
    }
    products(own.codes.data(), own.step.data(), rows, w, [&](int64_t row, int64_t panel, Tile& tile, int64_t count) {
      const int64_t part = panel / heads, head = panel % heads;
      const bool turn = part < 2 && head < turning;
      for (int64_t r = 0; r < count; ++r) {
        const int64_t at = start + row + r, item = at / frames, frame = at % frames;
        char* place = to + (((part * batch + item) * heads + head) * frames + frame) * kCols * size;
        EACH(v, kVectors) {
          __m512 value = tile.value[r][v];
          if (turn) value = turned(value, _mm512_loadu_ps(table + frame * kCols + v * kLanes));
          if (half) {
            const __m256bh shorter = _mm512_cvtneps_pbh(value);
            std::memcpy(place + v * kLanes * 2, &shorter, 32);
          } else {
            _mm512_storeu_ps(place + v * kLanes * 4, value);
          }
        }
      }
    });
  });
  return out;
}

inline void add_gated(float* x, const float* gate, const Tile& tile, int64_t r, int64_t panel) {
  EACH(v, kVectors) {
    float* place = x + panel * kCols + v * kLanes;
    const __m512 factor = _mm512_loadu_ps(gate + panel * kCols + v * kLanes);
    _mm512_storeu_ps(place, _mm512_fmadd_ps(tile.value[r][v], factor, _mm512_loadu_ps(place)));
  }
}

// x [b, n, d] += gate * linear(heads [b, n, d]), for the first lengths[i] frames of each sequence.
void merge(const Tensor& x, const Tensor& joined, const Tensor& gate, const Tensor& packed, const Tensor& offset,
           const Tensor& scales, const Tensor& bias, const Tensor& lengths) {
  check_rows(x);
  check_rows(joined);
  const Weights w(packed, offset, scales, bias);
  const int64_t frames = x.size(1), width = x.size(2), inner = joined.size(2);
  STD_TORCH_CHECK(w.inputs == inner && w.outputs == width && lengths.numel() == x.size(0));
  float* to = x.mutable_data_ptr<float>();
  const float *from = joined.const_data_ptr<float>(), *g = gate.const_data_ptr<float>();
  const int64_t* length = lengths.const_data_ptr<int64_t>();
  in_blocks(x.size(0) * frames, [&](int64_t start, int64_t rows) {
    Scratch own(inner);
    for (int64_t r = 0; r < rows; ++r)
      own.step[r] = quantize(from + (start + r) * inner, inner, own.codes.data() + r * inner);
    products(own.codes.data(), own.step.data(), rows, w, [&](int64_t row, int64_t panel, Tile& tile, int64_t count) {
      for (int64_t r = 0; r < count; ++r) {
        const int64_t at = start + row + r;
        if (at % frames < length[at / frames]) add_gated(to + at * width, g, tile, r, panel);
      }
    });
  });
}

// x [b, n, d] += gate * linear(gelu(linear(norm(x)))).
void feed(const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& gate, const Tensor& packed1,
          const Tensor& offset1, const Tensor& scales1, const Tensor& bias1, const Tensor& packed2,
          const Tensor& offset2, const Tensor& scales2, const Tensor& bias2) {
  check_rows(x);
  const Weights rise(packed1, offset1, scales1, bias1), fall(packed2, offset2, scales2, bias2);
  const int64_t width = x.size(2), inner = rise.outputs;
  STD_TORCH_CHECK(rise.inputs == width && fall.inputs == inner && fall.outputs == width);
  float* to = x.mutable_data_ptr<float>();
  const float *a = scale.const_data_ptr<float>(), *b = shift.const_data_ptr<float>(), *g = gate.const_data_ptr<float>();
  in_blocks(x.size(0) * x.size(1), [&](int64_t start, int64_t rows) {
    Scratch low(width), high(inner);
    std::vector<float> hidden(kBlock * inner);
    for (int64_t r = 0; r < rows; ++r) {
      normalise(to + (start + r) * width, width, a, b, low.row.data());
      low.step[r] = quantize(low.row.data(), width, low.codes.data() + r * width);
    }
    products(low.codes.data(), low.step.data(), rows, rise, [&](int64_t row, int64_t panel, Tile& tile, int64_t count) {
      for (int64_t r = 0; r < count; ++r)
        EACH(v, kVectors)
          _mm512_storeu_ps(hidden.data() + (row + r) * inner + panel * kCols + v * kLanes, gelu(tile.value[r][v]));
    });
    for (int64_t r = 0; r < rows; ++r)
      high.step[r] = quantize(hidden.data() + r * inner, inner, high.codes.data() + r * inner);
    products(high.codes.data(), high.step.data(), rows, fall, [&](int64_t row, int64_t panel, Tile& tile, int64_t count) {
      for (int64_t r = 0; r < count; ++r) add_gated(to + (start + row + r) * width, g, tile, r, panel);
    });
  });
}

// Rows of floats or bf16 as bf16, times a factor.
inline void as_bf16(const void* from, bool half, int64_t count, float factor, uint16_t* to) {
  for (int64_t c = 0; c < count; c += kLanes) {
    __m512 value;
    if (half) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(from) + c));
      value = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    } else {
      value = _mm512_loadu_ps(static_cast<const float*>(from) + c);
    }
    const __m256bh shorter = _mm512_cvtneps_pbh(_mm512_mul_ps(value, _mm512_set1_ps(factor)));
    std::memcpy(to + c, &shorter, 32);
  }
}

// rows [R, 2 pairs] by columns [pairs][stride][2], 64 of them: sums of products of bf16.
template <int R>
__attribute__((noinline)) void halves(const uint16_t* rows, int64_t row_stride, const uint16_t* columns, int64_t stride,
                   int64_t pairs, __m512 (&out)[kRows][kVectors]) {
  __m512 sum[R][kVectors];
  EACH(r, R) EACH(v, kVectors) sum[r][v] = _mm512_setzero_ps();
  for (int64_t p = 0; p < pairs; ++p, columns += 2 * stride) {
    __m512i column[kVectors];
    EACH(v, kVectors) column[v] = _mm512_loadu_si512(columns + v * 2 * kLanes);
    EACH(r, R) {
      const __m512i row = _mm512_set1_epi32(word(rows + r * row_stride + 2 * p));
      EACH(v, kVectors) add_product(sum[r][v], row, column[v]);
    }
  }
  EACH(r, R) EACH(v, kVectors) out[r][v] = sum[r][v];
}

// Up to six queries of one head over all its keys.
template <int R>
inline void attend(const uint16_t* queries, const uint16_t* keys, const uint16_t* values, int64_t length,
                   int64_t room, float* scores, uint16_t* weights, float* out, int64_t out_stride) {
  __m512 sum[kRows][kVectors];
  for (int64_t key = 0; key < length; key += kCols) {
    halves<R>(queries, kCols, keys + 2 * key, room, kCols / 2, sum);
    EACH(r, R)
      EACH(v, kVectors) _mm512_storeu_ps(scores + r * room + key + v * kLanes, sum[r][v]);
  }
  float inverse[kRows];
  EACH(r, R) {
    float* row = scores + r * room;
    for (int64_t key = length; key < room; ++key) row[key] = -std::numeric_limits<float>::infinity();
    __m512 most = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    for (int64_t key = 0; key < room; key += kLanes) most = _mm512_max_ps(most, _mm512_loadu_ps(row + key));
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 total = _mm512_setzero_ps();
    for (int64_t key = 0; key < room; key += kLanes) {
      const __m512 below = _mm512_max_ps(_mm512_sub_ps(_mm512_loadu_ps(row + key), top), _mm512_set1_ps(-200.0f));
      const __m512 weight = exp2(below);
      total = _mm512_add_ps(total, weight);
      const __m256bh shorter = _mm512_cvtneps_pbh(weight);
      std::memcpy(weights + r * room + key, &shorter, 32);
    }
    inverse[r] = 1.0f / _mm512_reduce_add_ps(total);
  }
  halves<R>(weights, room, values, kCols, room / 2, sum);
  EACH(r, R)
    EACH(v, kVectors)
      _mm512_storeu_ps(out + r * out_stride + v * kLanes, _mm512_mul_ps(sum[r][v], _mm512_set1_ps(inverse[r])));
}

// Keys [n][64] as [32][room][2], values [n][64] as [room / 2][64][2]; zero beyond n.
void lay_out(const uint16_t* keys, const uint16_t* values, int64_t length, int64_t room, uint16_t* k, uint16_t* v) {
  std::memset(k, 0, room * kCols * 2);
  std::memset(v, 0, room * kCols * 2);
  for (int64_t j = 0; j < length; ++j)
    for (int64_t p = 0; p < kCols / 2; ++p) std::memcpy(k + 2 * (p * room + j), keys + j * kCols + 2 * p, 4);
  alignas(64) uint16_t low[32], high[32];
  for (int i = 0; i < 16; ++i) {
    low[2 * i] = i, low[2 * i + 1] = 32 + i;
    high[2 * i] = 16 + i, high[2 * i + 1] = 48 + i;
  }
  const __m512i first = _mm512_load_si512(low), second = _mm512_load_si512(high);
  for (int64_t j = 0; j < length; j += 2)
    for (int64_t c = 0; c < kCols; c += 32) {
      const __m512i one = _mm512_loadu_si512(values + j * kCols + c);
      const __m512i two = j + 1 < length ? _mm512_loadu_si512(values + (j + 1) * kCols + c) : _mm512_setzero_si512();
      _mm512_storeu_si512(v + j * kCols + 2 * c, _mm512_permutex2var_epi16(one, first, two));
      _mm512_storeu_si512(v + j * kCols + 2 * c + 32, _mm512_permutex2var_epi16(one, second, two));
    }
}

// queries, keys, values [b, heads, n, 64], float or bf16 -> [b, n, heads * 64] float; item i attends to its
// first lengths[i] frames.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths) {
  STD_TORCH_CHECK(q.dim() == 4 && q.size(3) == kCols && q.sizes() == k.sizes() && q.sizes() == v.sizes());
  STD_TORCH_CHECK(q.is_contiguous() && k.is_contiguous() && v.is_contiguous() && lengths.numel() == q.size(0));
  const bool half = q.scalar_type() == ScalarType::BFloat16;
  STD_TORCH_CHECK(half || q.scalar_type() == ScalarType::Float);
  const int64_t heads = q.size(1), frames = q.size(2), width = heads * kCols, size = half ? 2 : 4;
  const float factor = 0.125f * 1.4426950409f;  // 1 / sqrt(64), and exp by exp2
  Tensor out = torch::stable::empty({q.size(0), frames, width}, ScalarType::Float);
  const char *from_q = static_cast<const char*>(q.const_data_ptr()), *from_k = static_cast<const char*>(k.const_data_ptr()),
             *from_v = static_cast<const char*>(v.const_data_ptr());
  const int64_t* length = lengths.const_data_ptr<int64_t>();
  float* to = out.mutable_data_ptr<float>();
  torch::stable::parallel_for(0, q.size(0) * heads, 1, [&](int64_t first, int64_t last) {
    const int64_t most = (frames + kCols - 1) / kCols * kCols;
    std::vector<uint16_t> queries(frames * kCols), rows(frames * kCols), more(frames * kCols), keys(most * kCols),
        values(most * kCols), weights(kRows * most);
    std::vector<float> scores(kRows * most);
    for (int64_t task = first; task < last; ++task) {
      const int64_t item = task / heads, head = task % heads, count = std::min(length[item], frames);
      const int64_t room = (count + kCols - 1) / kCols * kCols, place = task * frames * kCols * size;
      as_bf16(from_q + place, half, frames * kCols, factor, queries.data());
      as_bf16(from_k + place, half, count * kCols, 1.0f, rows.data());
      as_bf16(from_v + place, half, count * kCols, 1.0f, more.data());
      lay_out(rows.data(), more.data(), count, room, keys.data(), values.data());
      for (int64_t row = 0; row < frames; row += kRows) {
        float* target = to + (item * frames + row) * width + head * kCols;
        const auto run = [&](auto tile) {
          attend<decltype(tile)::value>(queries.data() + row * kCols, keys.data(), values.data(), count, room,
                                        scores.data(), weights.data(), target, width);
        };
        switch (std::min(kRows, frames - row)) {
          case 1: run(std::integral_constant<int, 1>()); break;
          case 2: run(std::integral_constant<int, 2>()); break;
          case 3: run(std::integral_constant<int, 3>()); break;
          case 4: run(std::integral_constant<int, 4>()); break;
          case 5: run(std::integral_constant<int, 5>()); break;
          default: run(std::integral_constant<int, 6>());
        }
      }
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY(ishowtts_cpu, m) {
  m.def("project(Tensor x, Tensor scale, Tensor shift, Tensor packed, Tensor offset, Tensor scales, Tensor bias, "
        "Tensor angles, int turning, bool half) -> Tensor");
  m.def("merge(Tensor(a!) x, Tensor joined, Tensor gate, Tensor packed, Tensor offset, Tensor scales, Tensor bias, "
        "Tensor lengths) -> ()");
  m.def("feed(Tensor(a!) x, Tensor scale, Tensor shift, Tensor gate, Tensor packed1, Tensor offset1, "
        "Tensor scales1, Tensor bias1, Tensor packed2, Tensor offset2, Tensor scales2, Tensor bias2) -> ()");
  m.def("attention(Tensor q, Tensor k, Tensor v, Tensor lengths) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(ishowtts_cpu, CPU, m) {
  m.impl("project", TORCH_BOX(&project));
  m.impl("merge", TORCH_BOX(&merge));
  m.impl("feed", TORCH_BOX(&feed));
  m.impl("attention", TORCH_BOX(&attention));
}

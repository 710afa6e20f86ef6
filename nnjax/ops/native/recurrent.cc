// The recurrences of LSTM and GRU over whole sequences, forward and backward.
//
// The products with the inputs, and the gradients of the weights, are single large products outside
// of time: `ops/recurrent.py` makes them. Here is only what must go step by step. Rows of a batch do
// not meet, so each thread takes its rows through all steps, without waiting for another at any.
//
// Arrays are [N, T, ...]; `cells.h` has the gates of a step.

#include <cstring>

#include "cells.h"
#include "onednn.h"

namespace nnjax {
namespace {

enum Cell { kLstm, kGru };

// Rows of a step's product, [rows, in] [in, out], with the weights in oneDNN's own layout.
struct Product {
  dnnl::matmul primitive;
  Description source, weights, result, scratch;
};

struct Job {
  struct Piece {
    int64_t first, rows;
    const Product* product;
    Region result, carry, scratch;
  };
  std::unique_ptr<const Product> whole, last;
  Description weights;  // as JAX has them
  dnnl::reorder pack;   // to the layout of the products
  Region packed;
  std::vector<Piece> pieces;
  int64_t bytes = 0;
};

struct Sizes {
  Cell cell;
  bool backward;
  int64_t batch, time, hidden, pieces;

  int64_t gates() const { return cell == kLstm ? 4 : 3; }
};

std::unique_ptr<const Product> MakeProduct(const Sizes& s, int64_t rows, const Product* like) {
  const int64_t h = s.hidden, wide = s.gates() * h, in = s.backward ? wide : h;
  const int64_t out = s.backward ? h : wide;
  auto product = std::make_unique<Product>();
  // Forward reads the last step's outputs where they lie; backward a step's gradients, gathered.
  product->source = Description({rows, in}, NumberType::f32, Lengths{s.backward ? wide : (s.time + 1) * h, 1});
  product->result = Description({rows, out}, NumberType::f32, Lengths{out, 1});
  const Description any({in, out}, NumberType::f32, dnnl::memory::format_tag::any);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::matmul::primitive_desc chosen(Engine(), product->source, like ? like->weights : any,
                                            product->result, attributes);
  product->primitive = dnnl::matmul(chosen);
  product->weights = chosen.weights_desc();
  product->scratch = chosen.scratchpad_desc();
  return product;
}

std::shared_ptr<const Job> MakeJob(const Sizes& s) {
  OneThread one;
  auto job = std::make_shared<Job>();
  const int64_t h = s.hidden, wide = s.gates() * h;
  const int64_t rows = (s.batch + s.pieces - 1) / s.pieces, rest = s.batch % rows;
  job->whole = MakeProduct(s, rows, nullptr);
  if (rest) job->last = MakeProduct(s, rest, job->whole.get());
  // w [h, gates h]; backward multiplies by its transpose.
  job->weights = s.backward ? Description({wide, h}, NumberType::f32, Lengths{1, wide})
                            : Description({h, wide}, NumberType::f32, Lengths{wide, 1});
  job->packed = Take(job->bytes, job->whole->weights);
  job->pack = dnnl::reorder({Engine(), job->weights, Engine(), job->whole->weights});
  for (int64_t first = 0; first < s.batch; first += rows) {
    const int64_t count = std::min(rows, s.batch - first);
    const Product* product = count == rows ? job->whole.get() : job->last.get();
    Job::Piece piece{first, count, product, {}, {}, {}};
    piece.result = Take(job->bytes, product->result);
    // Backward: a step's gradients gathered, a row's dh, and what reaches each h past the product.
    piece.carry = Take(
        job->bytes, Description({count * (wide + h) + h}, NumberType::f32, Lengths{1}));
    piece.scratch = Take(job->bytes, product->scratch);
    job->pieces.push_back(piece);
  }
  return job;
}

std::shared_ptr<const Job> FindJob(const Sizes& s) {
  static auto* const cache = new Cache<Job>;  // never destroyed: XLA's threads may outlive main
  return cache->Get({s.cell, s.backward, s.batch, s.time, s.hidden, s.pieces},
                    [&] { return MakeJob(s); });
}

struct Call {
  const Sizes& sizes;
  const Job& job;
  char* scratch;

  float* At(const Region& region) const {
    return reinterpret_cast<float*>(scratch + region.offset);
  }
  void Pack(const float* w) const {
    OneThread one;
    Execute(job.pack, {{DNNL_ARG_FROM, Memory(job.weights, const_cast<float*>(w))},
                       {DNNL_ARG_TO, Memory(job.whole->weights, scratch + job.packed.offset)}});
  }
  void Multiply(const Job::Piece& piece, const float* source) const {
    const Product& product = *piece.product;
    Execute(product.primitive,
            {{DNNL_ARG_SRC, Memory(product.source, const_cast<float*>(source))},
             {DNNL_ARG_WEIGHTS, Memory(product.weights, scratch + job.packed.offset)},
             {DNNL_ARG_DST, Memory(product.result, At(piece.result))},
             {DNNL_ARG_SCRATCHPAD, Memory(product.scratch, scratch + piece.scratch.offset)}});
  }
};

// h, c: [N, T + 1, H] with the initial values in front; x [N, T, gates H]; gates [N, T, 4 H].
void Forward(const Call& call, const Job::Piece& piece, const float* x, const float* b, float* h,
             float* c, float* gates) {
  const int64_t n = call.sizes.hidden, time = call.sizes.time, wide = call.sizes.gates() * n;
  for (int64_t t = 0; t < time; ++t) {
    call.Multiply(piece, h + (piece.first * (time + 1) + t) * n);
    for (int64_t row = 0; row < piece.rows; ++row) {
      const int64_t at = (piece.first + row) * time + t, state = at + piece.first + row;
      const float* r = call.At(piece.result) + row * wide;
      if (call.sizes.cell == kLstm) {
        LstmForwardRow(n, x + at * wide, r, c + state * n, gates + at * 4 * n, c + (state + 1) * n,
                    h + (state + 1) * n);
      } else {
        GruForwardRow(n, x + at * wide, r, b, h + state * n, gates + at * 4 * n, h + (state + 1) * n);
      }
    }
  }
}

// dh [N, T, H] are the gradients of the outputs; dc [N, H] comes with that of the last c and leaves
// as that of the first, dh_first [N, H] likewise for h; dx [N, T, 4 H] are those of the gates.
void Backward(const Call& call, const Job::Piece& piece, const float* gates, const float* h,
              const float* c, const float* dh, float* dx, float* dh_first, float* dc) {
  const int64_t n = call.sizes.hidden, time = call.sizes.time, wide = call.sizes.gates() * n;
  float* const gathered = call.At(piece.carry);
  float* const whole = gathered + piece.rows * wide;
  float* const direct = whole + n;
  float* const later = call.At(piece.result);  // of h, through the product of the step after
  std::memset(later, 0, piece.rows * n * sizeof(float));
  std::memset(direct, 0, piece.rows * n * sizeof(float));
  for (int64_t t = time - 1; t >= 0; --t) {
    for (int64_t row = 0; row < piece.rows; ++row) {
      const int64_t at = (piece.first + row) * time + t, state = at + piece.first + row;
      float *const into = gathered + row * wide, *const past = direct + row * n;
      Add(n, dh + at * n, later + row * n, past, whole);
      if (call.sizes.cell == kLstm) {
        LstmBackwardRow(n, gates + at * 4 * n, c + state * n, c + (state + 1) * n, whole,
                     dc + (piece.first + row) * n, dx + at * 4 * n);
        std::memcpy(into, dx + at * 4 * n, wide * sizeof(float));
      } else {
        GruBackwardRow(n, gates + at * 4 * n, h + state * n, whole, dx + at * 4 * n, past);
        std::memcpy(into, dx + at * 4 * n, 2 * n * sizeof(float));
        std::memcpy(into + 2 * n, dx + at * 4 * n + 3 * n, n * sizeof(float));
      }
    }
    call.Multiply(piece, gathered);
  }
  for (int64_t i = 0; i < piece.rows * n; ++i) dh_first[piece.first * n + i] = later[i] + direct[i];
}

// x [N, T, gates H], w [H, gates H], b [H] (of a GRU's a), h, c [N, H]
//   -> h, c [N, T + 1, H] with the first in front, gates [N, T, 4 H]
template <Cell cell>
ffi::Error HandleForward(ffi::ThreadPool pool, int64_t pieces, ffi::AnyBuffer x, ffi::AnyBuffer w,
                         ffi::AnyBuffer b, ffi::AnyBuffer h, ffi::AnyBuffer c,
                         ffi::Result<ffi::AnyBuffer> hs, ffi::Result<ffi::AnyBuffer> cs,
                         ffi::Result<ffi::AnyBuffer> gates, ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("recurrence", x, w, [&] {
    const auto shape = x.dimensions();
    const Sizes sizes{cell, false, shape[0], shape[1], w.dimensions()[0], pieces};
    const auto job = FindJob(sizes);
    CheckScratch(job->bytes, *scratch);
    const int64_t n = sizes.hidden, all = (sizes.time + 1) * n;
    for (int64_t row = 0; row < sizes.batch; ++row) {
      std::memcpy(Floats(*hs) + row * all, Floats(h) + row * n, n * sizeof(float));
      if (cell == kLstm) std::memcpy(Floats(*cs) + row * all, Floats(c) + row * n, n * sizeof(float));
    }
    const Call call{sizes, *job, static_cast<char*>(scratch->untyped_data())};
    call.Pack(Floats(w));
    Parallel(pool, job->pieces.size(), [&](int64_t number) {
      Forward(call, job->pieces[number], Floats(x), Floats(b), Floats(*hs), Floats(*cs),
              Floats(*gates));
    });
  });
}

// gates, h, c as Forward left them, w, dh [N, T, H], dc [N, H] -> dx [N, T, 4 H], dh, dc [N, H]
template <Cell cell>
ffi::Error HandleBackward(ffi::ThreadPool pool, int64_t pieces, ffi::AnyBuffer gates,
                          ffi::AnyBuffer w, ffi::AnyBuffer h, ffi::AnyBuffer c, ffi::AnyBuffer dh,
                          ffi::AnyBuffer dc, ffi::Result<ffi::AnyBuffer> dx,
                          ffi::Result<ffi::AnyBuffer> dh_first, ffi::Result<ffi::AnyBuffer> dc_first,
                          ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("gradient of a recurrence", gates, w, [&] {
    const auto shape = gates.dimensions();
    const Sizes sizes{cell, true, shape[0], shape[1], w.dimensions()[0], pieces};
    const auto job = FindJob(sizes);
    CheckScratch(job->bytes, *scratch);
    if (cell == kLstm) std::memcpy(Floats(*dc_first), Floats(dc), dc.size_bytes());
    const Call call{sizes, *job, static_cast<char*>(scratch->untyped_data())};
    call.Pack(Floats(w));
    Parallel(pool, job->pieces.size(), [&](int64_t number) {
      Backward(call, job->pieces[number], Floats(gates), Floats(h), Floats(c), Floats(dh),
               Floats(*dx), Floats(*dh_first), Floats(*dc_first));
    });
  });
}

}  // namespace

#define NNJAX_BUFFERS_4(kind) \
  .kind<ffi::AnyBuffer>().kind<ffi::AnyBuffer>().kind<ffi::AnyBuffer>().kind<ffi::AnyBuffer>()
#define NNJAX_RECURRENCE(name, handle, more)                                               \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(                                                           \
      name, handle,                                                                        \
      ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("pieces") NNJAX_BUFFERS_4(Arg) \
          more NNJAX_BUFFERS_4(Ret))
#define NNJAX_1 .Arg<ffi::AnyBuffer>()

NNJAX_RECURRENCE(LstmForward, HandleForward<kLstm>, NNJAX_1);
NNJAX_RECURRENCE(GruForward, HandleForward<kGru>, NNJAX_1);
NNJAX_RECURRENCE(LstmBackward, HandleBackward<kLstm>, NNJAX_1 NNJAX_1);
NNJAX_RECURRENCE(GruBackward, HandleBackward<kGru>, NNJAX_1 NNJAX_1);

// The bytes of scratch memory that a recurrence needs, or -1 where oneDNN does not serve it.
// numbers: is a GRU, is backward, batch, time, hidden, pieces.
extern "C" int64_t RecurrentScratch(const int64_t* numbers) {
  try {
    return FindJob({numbers[0] ? kGru : kLstm, numbers[1] != 0, numbers[2], numbers[3], numbers[4],
                    numbers[5]})
        ->bytes;
  } catch (const std::exception&) {
    return -1;
  }
}

}  // namespace nnjax

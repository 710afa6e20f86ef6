// The matrix products of a dense layer and its gradients, by oneDNN.
//
//   NN: c [m, n] = a [m, k]   b [k, n]
//   NT: c [m, n] = a [m, k]   b [n, k] transposed
//   TN: c [m, n] = a [k, m] transposed   b [k, n]
//
// The rows of c are cut into pieces, one for a thread each.

#include "onednn.h"

namespace nnjax {
namespace {

enum Form { kNN, kNT, kTN };

struct Job {
  struct Piece {
    dnnl::matmul primitive;
    Description a, b, c, scratch_description;
    int64_t first_a, first_c;  // byte offsets
    Region scratch;
  };
  std::vector<Piece> pieces;
  int64_t bytes = 0;  // of scratch memory
};

std::shared_ptr<const Job> MakeJob(Form form, NumberType type, int64_t m, int64_t n, int64_t k,
                                   int64_t wanted) {
  OneThread one;
  auto job = std::make_shared<Job>();
  const int64_t size = dnnl::memory::data_type_size(type);
  const int64_t rows = (m + wanted - 1) / wanted;
  for (int64_t first = 0; first < m; first += rows) {
    const int64_t count = std::min(rows, m - first);
    Job::Piece piece;
    piece.a = Description({count, k}, type, form == kTN ? Lengths{1, m} : Lengths{k, 1});
    piece.b = Description({k, n}, type, form == kNT ? Lengths{1, k} : Lengths{n, 1});
    piece.c = Description({count, n}, type, Lengths{n, 1});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc chosen(Engine(), piece.a, piece.b, piece.c, attributes);
    piece.primitive = dnnl::matmul(chosen);
    piece.scratch_description = chosen.scratchpad_desc();
    piece.scratch = Take(job->bytes, piece.scratch_description);
    piece.first_a = first * size * (form == kTN ? 1 : k);
    piece.first_c = first * size * n;
    job->pieces.push_back(std::move(piece));
  }
  return job;
}

std::shared_ptr<const Job> FindJob(Form form, NumberType type, int64_t m, int64_t n, int64_t k,
                                   int64_t pieces) {
  static auto* const cache = new Cache<Job>;  // never destroyed: XLA's threads may outlive main
  const Key key{form, static_cast<int64_t>(type), m, n, k, pieces};
  return cache->Get(key, [&] { return MakeJob(form, type, m, n, k, pieces); });
}

template <Form form>
ffi::Error Handle(ffi::ThreadPool pool, int64_t pieces, ffi::AnyBuffer a, ffi::AnyBuffer b,
                  ffi::Result<ffi::AnyBuffer> out, ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("matrix product", a, b, [&] {
    const auto shape = out->dimensions();
    const int64_t depth = a.dimensions()[form == kTN ? 0 : 1];
    const auto job = FindJob(form, Type(a.element_type()), shape[0], shape[1], depth, pieces);
    CheckScratch(job->bytes, *scratch);
    auto at = [](ffi::AnyBuffer buffer, int64_t offset) {
      return static_cast<char*>(buffer.untyped_data()) + offset;
    };
    Parallel(pool, job->pieces.size(), [&](int64_t number) {
      const Job::Piece& piece = job->pieces[number];
      Execute(piece.primitive,
              {{DNNL_ARG_SRC, Memory(piece.a, at(a, piece.first_a))},
               {DNNL_ARG_WEIGHTS, Memory(piece.b, at(b, 0))},
               {DNNL_ARG_DST, Memory(piece.c, at(*out, piece.first_c))},
               {DNNL_ARG_SCRATCHPAD,
                Memory(piece.scratch_description, at(*scratch, piece.scratch.offset))}});
    });
  });
}

}  // namespace

#define NNJAX_MATMUL(name, form)                            \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, Handle<form>,         \
                                ffi::Ffi::Bind()            \
                                    .Ctx<ffi::ThreadPool>() \
                                    .Attr<int64_t>("pieces") \
                                    .Arg<ffi::AnyBuffer>()  \
                                    .Arg<ffi::AnyBuffer>()  \
                                    .Ret<ffi::AnyBuffer>()  \
                                    .Ret<ffi::AnyBuffer>())

NNJAX_MATMUL(MatmulNN, kNN);
NNJAX_MATMUL(MatmulNT, kNT);
NNJAX_MATMUL(MatmulTN, kTN);

// The bytes of scratch memory that a product needs, or -1 where oneDNN does not serve it.
// numbers: form, is bfloat16, m, n, k, pieces.
extern "C" int64_t MatmulScratch(const int64_t* numbers) {
  try {
    const auto type = numbers[1] ? NumberType::bf16 : NumberType::f32;
    const auto form = static_cast<Form>(numbers[0]);
    return FindJob(form, type, numbers[2], numbers[3], numbers[4], numbers[5])->bytes;
  } catch (const std::exception&) {
    return -1;
  }
}

}  // namespace nnjax

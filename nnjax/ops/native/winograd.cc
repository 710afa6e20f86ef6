// Convolution with windows of 3x3 and stride 1, and its two gradients, with fewer products: by
// Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, Fast algorithms for convolutional
// neural networks, 2016). The 2x2 outputs of a tile take 16 products a pair of channels, not 36:
//
//   y = A' [(G w G') o (B' d B)] A,   and its gradient   dw = G' [(B' d B) o (A dy A')] G
//
// d is the tile's 4x4 inputs, o the product of each of the 16 numbers: sixteen matrix products over
// channels, by oneDNN. Tiles are transformed a few at a time, so that they stay in cache.

#include "onednn.h"
#include "tiles.h"

namespace nnjax {
namespace {

constexpr int64_t kFloat = sizeof(float);
constexpr int64_t kChunk = 1 << 19;  // bytes of transformed tiles, half a second-level cache

// A whole operation: tiles cut into pieces, one for a thread each, and those into chunks.
struct Job {
  struct Piece {
    int64_t first, end;  // tiles
    Region inner, outer, zeros, lost, sum, scratch;
  };
  dnnl::matmul primitive;
  Description a, b, c, workspace;
  std::vector<Change> pack;  // the weights, a sixteenth each
  int64_t tiles;  // of a chunk
  Region weights, packed;
  std::vector<Piece> pieces;
  int64_t bytes = 0;  // of scratch memory
};

std::shared_ptr<const Job> MakeJob(Operand result, const Tiling& g, int64_t wanted) {
  OneThread one;
  auto job = std::make_shared<Job>();
  const int64_t in = g.inner.channels, out = g.outer.channels, all = g.Count();
  const int64_t share = (all + wanted - 1) / wanted;
  const int64_t most = std::max<int64_t>(kLanes, kChunk / (kParts * kFloat * (in + out)));
  const int64_t chunks = (share + most - 1) / most, t = job->tiles = (share + chunks - 1) / chunks;
  const auto f32 = NumberType::f32;
  Description plain;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (result == kW) {  // sum over tiles: [in, t] [t, out]
    job->a = Description({kParts, in, t}, f32, Lengths{t * in, 1, in});
    job->b = Description({kParts, t, out}, f32, Lengths{t * out, out, 1});
    job->c = Description({kParts, in, out}, f32, Lengths{in * out, out, 1});
    dnnl::post_ops add;
    add.append_sum();
    attributes.set_post_ops(add);
  } else {  // [t, in] [in, out], where the weights of kX lie as [out, in]
    job->a = Description({kParts, t, in}, f32, Lengths{t * in, in, 1});
    const Lengths steps = result == kX ? Lengths{in * out, 1, in} : Lengths{in * out, out, 1};
    plain = Description({kParts, in, out}, f32, steps);
    job->b = Description({kParts, in, out}, f32, dnnl::memory::format_tag::any);
    job->c = Description({kParts, t, out}, f32, Lengths{t * out, out, 1});
    job->weights = Take(job->bytes, kFloat * kParts * in * out);
  }
  const dnnl::matmul::primitive_desc chosen(Engine(), job->a, job->b, job->c, attributes);
  job->primitive = dnnl::matmul(chosen);
  if (result != kW) {
    job->b = chosen.weights_desc();
    job->packed = Take(job->bytes, job->b);
    for (int64_t k = 0; k < kParts; ++k) {
      const Description from = plain.submemory_desc({1, in, out}, {k, 0, 0});
      const Description to = job->b.submemory_desc({1, in, out}, {k, 0, 0});
      job->pack.push_back({dnnl::reorder({Engine(), from, Engine(), to}), from, to});
    }
  }
  job->workspace = chosen.scratchpad_desc();
  for (int64_t first = 0; first < all; first += share) {
    Job::Piece piece{first, std::min(all, first + share)};
    piece.inner = Take(job->bytes, kFloat * kParts * t * in);
    piece.outer = Take(job->bytes, kFloat * kParts * t * out);
    piece.zeros = Take(job->bytes, kFloat * std::max(in, out));
    piece.lost = Take(job->bytes, kFloat * out);
    if (result == kW) piece.sum = Take(job->bytes, kFloat * kParts * in * out);
    piece.scratch = Take(job->bytes, job->workspace);
    job->pieces.push_back(piece);
  }
  return job;
}

std::shared_ptr<const Job> FindJob(Operand result, const Tiling& g, int64_t pieces) {
  static auto* const cache = new Cache<Job>;  // never destroyed: XLA's threads may outlive main
  Key key{result, pieces, g.low[0], g.low[1]};
  for (const Images& i : {g.inner, g.outer}) {
    key.insert(key.end(), {i.count, i.height, i.width, i.channels});
  }
  return cache->Get(key, [&] { return MakeJob(result, g, pieces); });
}

// work(first, end) on the pairs of channels, in so many parts.
template <typename Work>
void EachPair(ffi::ThreadPool& pool, int64_t parts, int64_t pairs, const Work& work) {
  const int64_t share = (pairs / kLanes + parts - 1) / parts * kLanes;
  Parallel(pool, parts, [&](int64_t part) {
    work(std::min(pairs, part * share), std::min(pairs, (part + 1) * share));
  });
}

// outer = inner convolved with w, or the gradient of the w that does so.
void Run(const Job& job, Operand result, const Tiling& g, float* inner, float* w, float* outer,
         char* scratch, ffi::ThreadPool& pool) {
  const int64_t pairs = g.inner.channels * g.outer.channels, threads = job.pieces.size();
  auto at = [&](const Region& region) { return reinterpret_cast<float*>(scratch + region.offset); };
  float* const weights = at(job.weights);
  if (result != kW) {
    EachPair(pool, threads, pairs, [&](int64_t first, int64_t end) {
      WeighPairs(w, pairs, first, end, result == kX, weights);
    });
    Make(job.pack, weights, at(job.packed), pool);
  }
  Parallel(pool, threads, [&](int64_t number) {
    const Job::Piece& piece = job.pieces[number];
    float *const left = at(piece.inner), *const right = at(piece.outer);
    float* const zeros = at(piece.zeros);
    std::fill_n(zeros, std::max(g.inner.channels, g.outer.channels), 0.0f);
    if (result == kW) std::fill_n(at(piece.sum), kParts * pairs, 0.0f);
    const Arguments arguments{
        {DNNL_ARG_SRC, Memory(job.a, left)},
        {DNNL_ARG_WEIGHTS, Memory(job.b, result == kW ? right : at(job.packed))},
        {DNNL_ARG_DST, Memory(job.c, result == kW ? at(piece.sum) : right)},
        {DNNL_ARG_SCRATCHPAD, Memory(job.workspace, scratch + piece.scratch.offset)}};
    for (int64_t first = piece.first; first < piece.end; first += job.tiles) {
      const int64_t end = std::min(piece.end, first + job.tiles);
      TransformInner(g, inner, first, end, job.tiles, zeros, left);
      if (result == kW) TransformOuter(g, outer, first, end, job.tiles, zeros, right);
      Execute(job.primitive, arguments);
      if (result != kW) RestoreOuter(g, right, first, end, job.tiles, at(piece.lost), outer);
    }
  });
  if (result != kW) return;
  std::vector<float*> sums;
  for (const Job::Piece& piece : job.pieces) sums.push_back(at(piece.sum));
  AddUp(sums, kParts * pairs, pool);
  EachPair(pool, threads, pairs, [&](int64_t first, int64_t end) {
    GatherPairs(sums[0], pairs, first, end, w);
  });
}

// The tiling of an operation whose padding before x is `low`.
Tiling Tiles(Operand result, const Images& x, const Images& y, const int64_t low[2]) {
  if (result == kX) return {y, x, {2 - low[0], 2 - low[1]}};
  return {x, y, {low[0], low[1]}};
}

template <Operand result>
ffi::Error Handle(ffi::ThreadPool pool, ffi::Span<const int64_t> low, int64_t pieces,
                  ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out,
                  ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("convolution", a, b, [&] {
    auto images = [](const ffi::AnyBuffer& buffer) {
      const auto n = buffer.dimensions();
      return Images{n[0], n[1], n[2], n[3]};
    };
    const ffi::AnyBuffer x = result == kX ? *out : a, w = result == kW ? *out : b,
                         y = result == kY ? *out : result == kX ? a : b;
    const Tiling g = Tiles(result, images(x), images(y), low.begin());
    const auto job = FindJob(result, g, pieces);
    CheckScratch(job->bytes, *scratch);
    const ffi::AnyBuffer &inner = result == kX ? y : x, &outer = result == kX ? x : y;
    Run(*job, result, g, Floats(inner), Floats(w), Floats(outer),
        static_cast<char*>(scratch->untyped_data()), pool);
  });
}

}  // namespace

#define NNJAX_WINOGRAD(name, result)                                     \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, Handle<result>,                    \
                                ffi::Ffi::Bind()                         \
                                    .Ctx<ffi::ThreadPool>()              \
                                    .Attr<ffi::Span<const int64_t>>("low") \
                                    .Attr<int64_t>("pieces")             \
                                    .Arg<ffi::AnyBuffer>()               \
                                    .Arg<ffi::AnyBuffer>()               \
                                    .Ret<ffi::AnyBuffer>()               \
                                    .Ret<ffi::AnyBuffer>())

NNJAX_WINOGRAD(WinogradX, kX);  // (y, w) -> x, the gradient of the data
NNJAX_WINOGRAD(WinogradW, kW);  // (x, y) -> w, the gradient of the weights
NNJAX_WINOGRAD(WinogradY, kY);  // (x, w) -> y

// The bytes of scratch memory that an operation needs, or -1 where oneDNN does not serve it.
// numbers: result, pieces, x [4], y [4], low [2].
extern "C" int64_t WinogradScratch(const int64_t* numbers) {
  try {
    auto images = [](const int64_t* n) { return Images{n[0], n[1], n[2], n[3]}; };
    const auto result = static_cast<Operand>(numbers[0]);
    const Tiling g = Tiles(result, images(numbers + 2), images(numbers + 6), numbers + 10);
    return FindJob(result, g, numbers[1])->bytes;
  } catch (const std::exception&) {
    return -1;
  }
}

}  // namespace nnjax

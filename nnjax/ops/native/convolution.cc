// Two-dimensional convolution and its two gradients, channels last, by oneDNN.
//
//   y = convolution(x, w)   x [N, H, W, C], w [h, w, C / groups, O], y [N, H', W', O]
//
// Each of the three operands is bilinear in the other two. The batch is cut into pieces, one for a
// thread each; the weight gradients of the pieces are added up in a fixed order.

#include "onednn.h"

namespace nnjax {
namespace {

using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;
using Tag = dnnl::memory::format_tag;

// What an operation is: shapes as JAX has them, one value for each space axis.
struct Geometry {
  Operand result;
  NumberType type;
  Lengths x, w, y, strides, low, high, dilation;
  int64_t groups;
};

// A primitive for so many rows, its operands' layouts, JAX's and those that oneDNN prefers, and what
// brings an operand from one to the other where they differ.
struct Plan {
  dnnl::primitive primitive;
  Description outer[3], inner[3], scratch;
  std::vector<Change> convert[3];
};

// A whole operation, cut into pieces.
struct Job {
  struct Piece {
    const Plan* plan;
    int64_t first;       // row
    Region inner[3];     // of scratch memory; empty where the operand is used as it lies
    Region scratch;
  };
  std::unique_ptr<const Plan> whole, last;  // of every piece, and of a shorter last one
  std::vector<Piece> pieces;
  int64_t bytes = 0;  // of scratch memory
};

template <typename Primitive, typename Chosen>
void Fill(Plan& plan, const Chosen& chosen, Description x, Description w, Description y) {
  plan.primitive = Primitive(chosen);
  plan.inner[kX] = x;
  plan.inner[kW] = w;
  plan.inner[kY] = y;
  plan.scratch = chosen.scratchpad_desc();
}

// `like`: a plan whose layout of the weights this one shares, or null.
std::unique_ptr<const Plan> MakePlan(const Geometry& g, int64_t rows, const Plan* like) {
  const Lengths x{rows, g.x[3], g.x[1], g.x[2]}, y{rows, g.y[3], g.y[1], g.y[2]};
  const int64_t height = g.w[0], width = g.w[1], in = g.w[2], out = g.w[3];
  Lengths w{out, in, height, width}, steps{1, out, width * in * out, in * out};
  if (g.groups > 1) {
    w = {g.groups, out / g.groups, in, height, width};
    steps.insert(steps.begin(), out / g.groups);
  }
  auto plan = std::make_unique<Plan>();
  plan->outer[kX] = Description(x, g.type, Tag::nhwc);
  plan->outer[kW] = Description(w, g.type, steps);
  plan->outer[kY] = Description(y, g.type, Tag::nhwc);

  // Few input channels run faster in a layout of oneDNN's own; the rest stays channels last. The
  // weight gradients of the pieces are summed in float32.
  const Description xd(x, g.type, g.x[3] < 4 ? Tag::any : Tag::nhwc);
  const Description yd(y, g.type, Tag::nhwc), wd(w, g.type, Tag::any);
  const auto sum = g.result == kW ? NumberType::f32 : g.type;
  const Description chosen = like ? like->inner[kW] : Description(w, sum, Tag::any);

  Lengths gaps = g.dilation;
  for (auto& gap : gaps) gap -= 1;  // oneDNN counts what lies between two taps
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto direct = dnnl::algorithm::convolution_direct;
  const convolution_forward::primitive_desc forward(
      Engine(), dnnl::prop_kind::forward_training, direct, xd, g.result == kY ? chosen : wd, yd,
      g.strides, gaps, g.low, g.high, attributes);
  if (g.result == kY) {
    Fill<convolution_forward>(*plan, forward, forward.src_desc(), forward.weights_desc(),
                              forward.dst_desc());
  } else if (g.result == kX) {
    const convolution_backward_data::primitive_desc backward(
        Engine(), direct, xd, chosen, yd, g.strides, gaps, g.low, g.high, forward, attributes);
    Fill<convolution_backward_data>(*plan, backward, backward.diff_src_desc(),
                                    backward.weights_desc(), backward.diff_dst_desc());
  } else {
    const convolution_backward_weights::primitive_desc backward(
        Engine(), direct, xd, chosen, yd, g.strides, gaps, g.low, g.high, forward, attributes);
    Fill<convolution_backward_weights>(*plan, backward, backward.src_desc(),
                                       backward.diff_weights_desc(), backward.diff_dst_desc());
  }
  for (Operand operand : {kX, kW, kY}) {
    Description from = plan->outer[operand], to = plan->inner[operand];
    if (from == to) continue;
    if (operand == g.result) std::swap(from, to);
    plan->convert[operand] = Changes(from, to, operand == kW ? (g.x[0] + rows - 1) / rows : 1);
  }
  return plan;
}

std::shared_ptr<const Job> MakeJob(const Geometry& g, int64_t wanted) {
  OneThread one;
  auto job = std::make_shared<Job>();
  const int64_t batch = g.x[0], rows = (batch + wanted - 1) / wanted, rest = batch % rows;
  job->whole = MakePlan(g, rows, nullptr);
  if (rest) job->last = MakePlan(g, rest, job->whole.get());
  for (int64_t first = 0; first < batch; first += rows) {
    Job::Piece piece{first + rows <= batch ? job->whole.get() : job->last.get(), first, {}, {}};
    for (Operand operand : {kX, kW, kY}) {
      const bool shared = operand == kW && g.result != kW;  // all pieces read the same weights
      const bool own = operand == kW && g.result == kW;     // each adds to weights of its own
      if (shared && first > 0) {
        piece.inner[kW] = job->pieces[0].inner[kW];
      } else if (own || piece.plan->inner[operand] != piece.plan->outer[operand]) {
        piece.inner[operand] = Take(job->bytes, piece.plan->inner[operand]);
      }
    }
    piece.scratch = Take(job->bytes, piece.plan->scratch);
    job->pieces.push_back(piece);
  }
  return job;
}

std::shared_ptr<const Job> FindJob(const Geometry& g, int64_t pieces) {
  static auto* const cache = new Cache<Job>;  // never destroyed: XLA's threads may outlive main
  Key key{g.result, static_cast<int64_t>(g.type), g.groups, pieces};
  for (const Lengths* part : {&g.x, &g.w, &g.y, &g.strides, &g.low, &g.high, &g.dilation}) {
    key.insert(key.end(), part->begin(), part->end());
  }
  return cache->Get(key, [&] { return MakeJob(g, pieces); });
}

void Run(const Job& job, Operand result, void* const data[3], char* scratch, ffi::ThreadPool& pool) {
  static constexpr int kNames[3][3] = {
      {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
      {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST},
      {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}};
  auto outer = [&](const Job::Piece& piece, Operand operand) {
    const Description& layout = piece.plan->outer[operand];
    const int64_t row = operand == kW ? 0 : layout.get_size() / layout.get_dims()[0];
    return Memory(layout, static_cast<char*>(data[operand]) + piece.first * row);
  };
  auto inner = [&](const Job::Piece& piece, Operand operand) {
    const Region& place = piece.inner[operand];
    return place.bytes ? Memory(piece.plan->inner[operand], scratch + place.offset)
                       : outer(piece, operand);
  };
  auto convert = [&](const Job::Piece& piece, Operand operand) {
    dnnl::memory from = outer(piece, operand), to = inner(piece, operand);
    if (operand == result) std::swap(from, to);
    Make(piece.plan->convert[operand], from.get_data_handle(), to.get_data_handle(), pool);
  };
  const Job::Piece& front = job.pieces[0];
  if (result != kW && front.inner[kW].bytes) convert(front, kW);

  Parallel(pool, job.pieces.size(), [&](int64_t number) {
    const Job::Piece& piece = job.pieces[number];
    Arguments arguments{
        {DNNL_ARG_SCRATCHPAD, Memory(piece.plan->scratch, scratch + piece.scratch.offset)}};
    for (Operand operand : {kX, kW, kY}) {
      const bool own = operand != kW && operand != result;
      if (own && piece.inner[operand].bytes) convert(piece, operand);
      arguments.emplace(kNames[result][operand], inner(piece, operand));
    }
    Execute(piece.plan->primitive, arguments);
    if (result != kW && piece.inner[result].bytes) convert(piece, result);
  });

  if (result != kW) return;
  std::vector<float*> parts;
  for (const Job::Piece& piece : job.pieces) {
    parts.push_back(reinterpret_cast<float*>(scratch + piece.inner[kW].offset));
  }
  AddUp(parts, front.inner[kW].bytes / sizeof(float), pool);
  if (!front.plan->convert[kW].empty()) return convert(front, kW);
  std::memcpy(data[kW], parts[0], front.inner[kW].bytes);  // one layout, and the type is float
}

template <Operand result>
ffi::Error Handle(ffi::ThreadPool pool, ffi::Span<const int64_t> strides,
                  ffi::Span<const int64_t> low, ffi::Span<const int64_t> high,
                  ffi::Span<const int64_t> dilation, int64_t groups, int64_t pieces,
                  ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> out,
                  ffi::Result<ffi::AnyBuffer> scratch) {
  return Guard("convolution", a, b, [&] {
    const ffi::AnyBuffer operands[3] = {result == kX ? *out : a, result == kW ? *out : b,
                                        result == kY ? *out : result == kX ? a : b};
    auto lengths = [](auto span) { return Lengths(span.begin(), span.end()); };
    auto shape = [&](Operand operand) { return lengths(operands[operand].dimensions()); };
    const Geometry geometry{result,       Type(a.element_type()), shape(kX),     shape(kW),
                            shape(kY),    lengths(strides),       lengths(low),  lengths(high),
                            lengths(dilation), groups};
    const auto job = FindJob(geometry, pieces);
    CheckScratch(job->bytes, *scratch);
    void* const data[3] = {operands[kX].untyped_data(), operands[kW].untyped_data(),
                           operands[kY].untyped_data()};
    Run(*job, result, data, static_cast<char*>(scratch->untyped_data()), pool);
  });
}

}  // namespace

#define NNJAX_CONVOLUTION(name, result)                                        \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, Handle<result>,                          \
                                ffi::Ffi::Bind()                               \
                                    .Ctx<ffi::ThreadPool>()                    \
                                    .Attr<ffi::Span<const int64_t>>("strides") \
                                    .Attr<ffi::Span<const int64_t>>("low")     \
                                    .Attr<ffi::Span<const int64_t>>("high")    \
                                    .Attr<ffi::Span<const int64_t>>("dilation") \
                                    .Attr<int64_t>("groups")                   \
                                    .Attr<int64_t>("pieces")                   \
                                    .Arg<ffi::AnyBuffer>()                     \
                                    .Arg<ffi::AnyBuffer>()                     \
                                    .Ret<ffi::AnyBuffer>()                     \
                                    .Ret<ffi::AnyBuffer>())

NNJAX_CONVOLUTION(ConvolutionX, kX);  // (y, w) -> x, the gradient of the data
NNJAX_CONVOLUTION(ConvolutionW, kW);  // (x, y) -> w, the gradient of the weights
NNJAX_CONVOLUTION(ConvolutionY, kY);  // (x, w) -> y

// The bytes of scratch memory that an operation needs, or -1 where oneDNN does not serve it.
// numbers: result, is bfloat16, groups, pieces, x [4], w [4], y [4], strides, low, high, dilation.
extern "C" int64_t ConvolutionScratch(const int64_t* numbers) {
  try {
    auto take = [at = numbers + 4](int count) mutable {
      at += count;
      return Lengths(at - count, at);
    };
    Geometry g{static_cast<Operand>(numbers[0]), numbers[1] ? NumberType::bf16 : NumberType::f32};
    g.groups = numbers[2];
    for (Lengths* shape : {&g.x, &g.w, &g.y}) *shape = take(4);
    for (Lengths* pair : {&g.strides, &g.low, &g.high, &g.dilation}) *pair = take(2);
    return FindJob(g, numbers[3])->bytes;
  } catch (const std::exception&) {
    return -1;
  }
}

}  // namespace nnjax

// The selective scan on a CPU, forward and backward:
//
//     h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t],     y[t] = C[t] h[t] + D u[t],     out[t] = y[t] silu(z[t])
//
// One vector holds neighbouring channels; the states of these channels stay in registers or the first cache from one
// position to the next. Forward keeps the states at the start of every `chunk` positions; backward computes those
// between again, a chunk at a time. Sums over channels are made in an order that does not depend on the threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

namespace {

// One register: wider vectors are split, and what does not fit the registers goes through memory (five times slower).
#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float FloatLanes __attribute__((vector_size(kBytes)));
typedef double DoubleLanes __attribute__((vector_size(kBytes)));
typedef int32_t IntLanes __attribute__((vector_size(kBytes)));

template <typename T> struct LanesOf;
template <> struct LanesOf<float> { using Type = FloatLanes; };
template <> struct LanesOf<double> { using Type = DoubleLanes; };
template <typename T> using Lanes = typename LanesOf<T>::Type;
template <typename T> constexpr int kWidth = kBytes / sizeof(T);

// e^x to two units in the last place: x = k ln 2 + r, a polynomial in r (Cephes, expf), and 2^k by the exponent's bits.
// Below -86 (4.5e-38) the result is 0, so that the exponent's bits never run out.
inline FloatLanes exponential(FloatLanes x) {
  const FloatLanes lowest = FloatLanes{} - 86.0f, highest = FloatLanes{} + 88.72f;
  FloatLanes inside = x < lowest ? lowest : x;
  inside = inside > highest ? highest : inside;
  const float to_nearest = 12582912.0f;  // 1.5 * 2^23: adding it leaves no bits behind the point
  FloatLanes shifted = inside * 1.44269504088896341f + to_nearest;
  FloatLanes k = shifted - to_nearest;
  FloatLanes r = inside - k * 0.693359375f;
  r = r - k * -2.12194440e-4f;
  FloatLanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  IntLanes bits = (IntLanes)p + ((IntLanes)shifted << 23);
  FloatLanes result = (FloatLanes)bits;
  result = x < lowest ? FloatLanes{} : result;
  return x > highest ? FloatLanes{} + std::numeric_limits<float>::infinity() : result;
}

inline DoubleLanes exponential(DoubleLanes x) {
  for (int lane = 0; lane < kWidth<double>; lane++) x[lane] = std::exp(x[lane]);
  return x;
}

// Lanes beyond the last channel read 0 and are not written.
template <typename T> inline Lanes<T> load(const T* from, int count) {
  Lanes<T> lanes{};
  if (count == kWidth<T>) std::memcpy(&lanes, from, kBytes);
  else std::memcpy(&lanes, from, count * sizeof(T));
  return lanes;
}

template <typename T> inline void store(T* to, Lanes<T> lanes, int count) {
  if (count == kWidth<T>) std::memcpy(to, &lanes, kBytes);
  else std::memcpy(to, &lanes, count * sizeof(T));
}

// The rows of (channels, states) that belong to one tile, turned so that neighbouring channels lie side by side.
template <typename T> void load_turned(Lanes<T>* to, const T* from, int64_t states, int count) {
  for (int64_t n = 0; n < states; n++) {
    Lanes<T> lanes{};
    for (int lane = 0; lane < count; lane++) lanes[lane] = from[lane * states + n];
    to[n] = lanes;
  }
}

template <typename T> void store_turned(T* to, const Lanes<T>* from, int64_t states, int count) {
  for (int64_t n = 0; n < states; n++)
    for (int lane = 0; lane < count; lane++) to[lane * states + n] = from[n][lane];
}

template <typename T> inline T sum(const Lanes<T>& lanes) {
  T parts[kWidth<T>];
  std::memcpy(parts, &lanes, kBytes);
  for (int half = kWidth<T> / 2; half; half /= 2)
    for (int lane = 0; lane < half; lane++) parts[lane] += parts[lane + half];
  return parts[0];
}

template <typename T> inline Lanes<T> sigmoid(Lanes<T> x) { return T(1) / (T(1) + exponential(-x)); }

// Calls work(item) for every item, on several threads where there is more than one.
template <typename Work> void for_each(int64_t items, int64_t threads, const Work& work) {
  std::atomic<int64_t> next{0};
  auto take = [&] {
    for (int64_t item; (item = next.fetch_add(1)) < items;) work(item);
  };
  std::vector<std::thread> helpers;
  for (int64_t i = 1; i < std::min(threads, items); i++) helpers.emplace_back(take);
  take();
  for (auto& helper : helpers) helper.join();
}

}  // namespace

// What Python passes. A stride is the distance, in numbers, from one position to the next; rows of the batch follow
// each other at `length` strides. Every other array is dense. Absent arrays are null.
template <typename T> struct Scan {
  int64_t batch, length, channels, states, chunk, groups, threads;
  int64_t u_stride, dt_stride, B_stride, C_stride, z_stride;
  const T *u, *dt, *A, *B, *C, *D, *z, *initial_state;
  const uint8_t* resets;
  T *out, *starts, *last_state;  // starts: (batch, chunks, tiles, states, lanes)
  const T *d_out, *d_last_state;
  T *d_u, *d_dt, *d_A, *d_B, *d_C, *d_D, *d_z, *d_initial_state;  // A, D: a row of the batch each; B, C: a group each

  int64_t tiles() const { return (channels + kWidth<T> - 1) / kWidth<T>; }
  int64_t chunks() const { return (length + chunk - 1) / chunk; }
  int count(int64_t tile) const { return (int)std::min<int64_t>(kWidth<T>, channels - tile * kWidth<T>); }
  Lanes<T>* start(int64_t row, int64_t c, int64_t tile) const {
    return (Lanes<T>*)starts + ((row * chunks() + c) * tiles() + tile) * states;
  }
};

template <typename T> void forward_tile(const Scan<T>& scan, int64_t row, int64_t tile) {
  const int64_t N = scan.states, first = tile * kWidth<T>;
  const int count = scan.count(tile);
  std::vector<Lanes<T>> A(N), h(N);
  load_turned(A.data(), scan.A + first * N, N, count);
  if (scan.initial_state) load_turned(h.data(), scan.initial_state + (row * scan.channels + first) * N, N, count);
  const Lanes<T> D = scan.D ? load(scan.D + first, count) : Lanes<T>{};
  for (int64_t t = 0; t < scan.length; t++) {
    const int64_t at = row * scan.length + t;
    if (t % scan.chunk == 0) std::copy(h.begin(), h.end(), scan.start(row, t / scan.chunk, tile));
    if (scan.resets && scan.resets[at]) std::fill(h.begin(), h.end(), Lanes<T>{});
    const Lanes<T> u = load(scan.u + at * scan.u_stride + first, count);
    const Lanes<T> dt = load(scan.dt + at * scan.dt_stride + first, count);
    const T *B = scan.B + at * scan.B_stride, *C = scan.C + at * scan.C_stride;
    const Lanes<T> dt_u = dt * u;
    Lanes<T> y = D * u;
    for (int64_t n = 0; n < N; n++) {
      h[n] = exponential(dt * A[n]) * h[n] + dt_u * B[n];
      y += h[n] * C[n];
    }
    if (scan.z) {
      const Lanes<T> z = load(scan.z + at * scan.z_stride + first, count);
      y *= z * sigmoid<T>(z);
    }
    store(scan.out + at * scan.channels + first, y, count);
  }
  store_turned(scan.last_state + (row * scan.channels + first) * N, h.data(), N, count);
}

// What backward holds for one thread: the states and decays of a chunk, and sums over the tiles of a group.
template <typename T> struct Scratch {
  std::vector<Lanes<T>> h, decay, y, d_B, d_C, zeros;
  Scratch(int64_t chunk, int64_t states)
      : h((chunk + 1) * states), decay(chunk * states), y(chunk), d_B(chunk * states), d_C(chunk * states),
        zeros(states) {}
  // The state before a position: zeros rather than a product with 0, which would let a NaN through.
  const Lanes<T>* before(int64_t t, bool reset) const { return reset ? zeros.data() : &h[t * zeros.size()]; }
};

// What backward carries from chunk to chunk, for one tile.
template <typename T> struct Carried {
  std::vector<Lanes<T>> A, d_A, d_h;  // d_h: gradient of the state before the positions already done
  Lanes<T> D{}, d_D{};
};

// States h[t + 1] after each position of the chunk that starts at t0, from h[0] before it.
template <typename T>
void recompute(const Scan<T>& scan, Scratch<T>& s, const Carried<T>& tile, int64_t row, int64_t t0, int64_t T_,
               int64_t first, int count) {
  const int64_t N = scan.states;
  for (int64_t t = 0; t < T_; t++) {
    const int64_t at = row * scan.length + t0 + t;
    const bool reset = scan.resets && scan.resets[at];
    const Lanes<T> u = load(scan.u + at * scan.u_stride + first, count);
    const Lanes<T> dt = load(scan.dt + at * scan.dt_stride + first, count);
    const T *B = scan.B + at * scan.B_stride, *C = scan.C + at * scan.C_stride;
    const Lanes<T> dt_u = dt * u;
    Lanes<T> y = tile.D * u;
    const Lanes<T>*before = s.before(t, reset), *A = tile.A.data();
    Lanes<T>*after = &s.h[(t + 1) * N], *decay = &s.decay[t * N];
    const T kept = reset ? 0 : 1;
    for (int64_t n = 0; n < N; n++) {
      const Lanes<T> a = exponential(dt * A[n]) * kept, h = a * before[n] + dt_u * B[n];
      decay[n] = a;
      after[n] = h;
      y += h * C[n];
    }
    s.y[t] = y;
  }
}

template <typename T>
void backward_chunk(const Scan<T>& scan, Scratch<T>& s, Carried<T>& tile, int64_t row, int64_t t0, int64_t T_,
                    int64_t first, int count) {
  const int64_t N = scan.states;
  for (int64_t t = T_ - 1; t >= 0; t--) {
    const int64_t at = row * scan.length + t0 + t;
    const bool reset = scan.resets && scan.resets[at];
    const Lanes<T> u = load(scan.u + at * scan.u_stride + first, count);
    const Lanes<T> dt = load(scan.dt + at * scan.dt_stride + first, count);
    const T *B = scan.B + at * scan.B_stride, *C = scan.C + at * scan.C_stride;
    Lanes<T> d_y = load(scan.d_out + at * scan.channels + first, count);
    if (scan.z) {
      const Lanes<T> z = load(scan.z + at * scan.z_stride + first, count), gate = sigmoid<T>(z);
      store(scan.d_z + at * scan.channels + first, d_y * s.y[t] * gate * (T(1) + z * (T(1) - gate)), count);
      d_y *= z * gate;
    }
    const Lanes<T> dt_u = dt * u;
    Lanes<T> d_dt_u{}, d_dt{};
    const Lanes<T>*before = s.before(t, reset), *after = &s.h[(t + 1) * N], *decay = &s.decay[t * N];
    const Lanes<T>* A = tile.A.data();
    Lanes<T>*d_B = &s.d_B[t * N], *d_C = &s.d_C[t * N], *d_A = tile.d_A.data(), *carried = tile.d_h.data();
    for (int64_t n = 0; n < N; n++) {
      const Lanes<T> d_h = carried[n] + d_y * C[n];
      d_C[n] += d_y * after[n];
      d_B[n] += d_h * dt_u;
      d_dt_u += d_h * B[n];
      const Lanes<T> d_before = d_h * decay[n], d_exponent = d_before * before[n];  // of exp(dt A)
      d_dt += d_exponent * A[n];
      d_A[n] += d_exponent * dt;
      carried[n] = d_before;
    }
    tile.d_D += d_y * u;
    store(scan.d_u + at * scan.channels + first, d_y * tile.D + d_dt_u * dt, count);
    store(scan.d_dt + at * scan.channels + first, d_dt_u * u + d_dt, count);
  }
}

template <typename T> void backward_group(const Scan<T>& scan, int64_t row, int64_t group) {
  const int64_t N = scan.states, first_tile = scan.tiles() * group / scan.groups;
  const int64_t num_tiles = scan.tiles() * (group + 1) / scan.groups - first_tile;
  Scratch<T> s(scan.chunk, N);
  std::vector<Carried<T>> carried(num_tiles);
  for (int64_t i = 0; i < num_tiles; i++) {
    const int64_t first = (first_tile + i) * kWidth<T>;
    const int count = scan.count(first_tile + i);
    Carried<T>& tile = carried[i];
    tile.A.resize(N), tile.d_A.resize(N), tile.d_h.resize(N);
    load_turned(tile.A.data(), scan.A + first * N, N, count);
    if (scan.D) tile.D = load(scan.D + first, count);
    if (scan.d_last_state)
      load_turned(tile.d_h.data(), scan.d_last_state + (row * scan.channels + first) * N, N, count);
  }
  for (int64_t c = scan.chunks() - 1; c >= 0; c--) {
    const int64_t t0 = c * scan.chunk, T_ = std::min(scan.chunk, scan.length - t0);
    std::fill(s.d_B.begin(), s.d_B.end(), Lanes<T>{});
    std::fill(s.d_C.begin(), s.d_C.end(), Lanes<T>{});
    for (int64_t i = 0; i < num_tiles; i++) {
      const int64_t first = (first_tile + i) * kWidth<T>;
      const int count = scan.count(first_tile + i);
      const Lanes<T>* start = scan.start(row, c, first_tile + i);
      std::copy(start, start + N, s.h.begin());
      recompute(scan, s, carried[i], row, t0, T_, first, count);
      backward_chunk(scan, s, carried[i], row, t0, T_, first, count);
    }
    T* d_B = scan.d_B + ((group * scan.batch + row) * scan.length + t0) * N;
    T* d_C = scan.d_C + ((group * scan.batch + row) * scan.length + t0) * N;
    for (int64_t i = 0; i < T_ * N; i++) d_B[i] = sum<T>(s.d_B[i]), d_C[i] = sum<T>(s.d_C[i]);
  }
  for (int64_t i = 0; i < num_tiles; i++) {
    const int64_t first = (first_tile + i) * kWidth<T>, at = row * scan.channels + first;
    const int count = scan.count(first_tile + i);
    store_turned(scan.d_A + at * N, carried[i].d_A.data(), N, count);
    store_turned(scan.d_initial_state + at * N, carried[i].d_h.data(), N, count);
    if (scan.D) store(scan.d_D + at, carried[i].d_D, count);
  }
}

template <typename T> void forward(const Scan<T>& scan) {
  const int64_t tiles = scan.tiles();
  for_each(scan.batch * tiles, scan.threads, [&](int64_t i) { forward_tile(scan, i / tiles, i % tiles); });
}

template <typename T> void backward(const Scan<T>& scan) {
  const int64_t groups = scan.groups;
  for_each(scan.batch * groups, scan.threads, [&](int64_t i) { backward_group(scan, i / groups, i % groups); });
}

extern "C" {
int lanes_float32() { return kWidth<float>; }
int lanes_float64() { return kWidth<double>; }
void forward_float32(const Scan<float>* scan) { forward(*scan); }
void forward_float64(const Scan<double>* scan) { forward(*scan); }
void backward_float32(const Scan<float>* scan) { backward(*scan); }
void backward_float64(const Scan<double>* scan) { backward(*scan); }
}

// The limits of a device: read memory, and multiply and add in float32.

extern "C" __global__ void read_all(const float4* __restrict__ x, long long n, float* out) {
  long long stride = (long long)gridDim.x * blockDim.x;
  long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  float total = 0.0f;
  for (; i + 3 * stride < n; i += 4 * stride) {  // four loads in flight
    float4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = x[i + j * stride];
#pragma unroll
    for (int j = 0; j < 4; ++j) total += v[j].x + v[j].y + v[j].z + v[j].w;
  }
  for (; i < n; i += stride) total += x[i].x + x[i].y + x[i].z + x[i].w;
  if (total == 12345.678f) *out = total;  // keeps the compiler from dropping the loads
}

extern "C" __global__ void burn(float* out, float a, float b) {
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = threadIdx.x + i;
  for (int j = 0; j < 4096; ++j)
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = fmaf(v[i], a, b);
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) total += v[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

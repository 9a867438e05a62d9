// A stand-in for libnvinfer and libnvinfer_plugin, for planning only: it tells a version and has no plugins, and whatever would build or
// run an engine gets nothing. TensorFlow's segmenter asks for no more than that. It is no TensorRT, and nothing of TensorRT is in it.
//
//   g++ -shared -fPIC -O1 -DTENSORRT_VERSION=8601 -Wl,-soname,libnvinfer.so.8.6.1 -o libnvinfer.so.8.6.1 stand_in.cc

#include <cstdint>

#ifndef TENSORRT_VERSION
#error "TENSORRT_VERSION is the version that TensorFlow was linked with: 8601 for 8.6.1"
#endif

namespace {

// In the place of TensorRT's registry of plugins. Its second function lists them; the others are there so that a call finds something.
class EmptyRegistry {
 public:
  virtual bool Register(void*, const char*) noexcept { return false; }
  virtual void* const* List(int32_t* count) const noexcept {
    if (count != nullptr) *count = 0;
    return nullptr;
  }
  virtual void* Find(const char*, const char*, const char*) noexcept { return nullptr; }
  virtual void SetErrorRecorder(void*) noexcept {}
  virtual void* GetErrorRecorder() const noexcept { return nullptr; }
  virtual bool Deregister(void*) noexcept { return false; }
};

EmptyRegistry registry;

}  // namespace

extern "C" {

int32_t getInferLibVersion() noexcept { return TENSORRT_VERSION; }
void* getPluginRegistry() noexcept { return &registry; }
void* getLogger() noexcept { return nullptr; }
void* createInferBuilder_INTERNAL(void*, int32_t) noexcept { return nullptr; }
void* createInferRuntime_INTERNAL(void*, int32_t) noexcept { return nullptr; }
void* createInferRefitter_INTERNAL(void*, void*, int32_t) noexcept { return nullptr; }
bool initLibNvInferPlugins(void*, const char*) noexcept { return true; }

}  // extern "C"

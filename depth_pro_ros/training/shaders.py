"""The GLSL of the renderer: procedural surfaces, point lights and sun, one shadow map."""

SKY_PATTERN = 7

VERTEX = """
#version 330
uniform mat4 model, view_projection, shadow_projection;
in vec3 position, normal;
in vec2 uv;
in vec4 rgb_layer;
out vec3 world, facing, local, local_facing;
out vec2 texture_uv;
out vec4 look;
out vec4 shadow_at;
void main() {
    vec4 p = model * vec4(position, 1.0);
    world = p.xyz;
    local = position;
    facing = mat3(model) * normal;
    local_facing = normal;
    texture_uv = uv;
    look = rgb_layer;
    shadow_at = shadow_projection * p;
    gl_Position = view_projection * p;
}
"""

FRAGMENT = """
#version 330
uniform vec3 eye, forward, room, ambient, rgb_a, rgb_b;
uniform vec4 light_position[4];
uniform vec3 light_rgb[4];
uniform int pattern, layer_base, photo_count;
uniform float period, gloss, seed, photo_m;
uniform sampler2DShadow shadow_map;
uniform sampler2DArray layers, photos;
in vec3 world, facing, local, local_facing;
in vec2 texture_uv;
in vec4 look;
in vec4 shadow_at;
layout(location = 0) out vec4 colour;
layout(location = 1) out float depth;

float hash(vec2 p) { return fract(sin(dot(p + seed, vec2(12.9898, 78.233))) * 43758.5453); }
float noise(vec2 p) {
    vec2 i = floor(p), f = smoothstep(0.0, 1.0, fract(p));
    return mix(mix(hash(i), hash(i + vec2(1, 0)), f.x),
               mix(hash(i + vec2(0, 1)), hash(i + vec2(1, 1)), f.x), f.y);
}
float fbm(vec2 p) { return 0.5 * noise(p) + 0.3 * noise(2.3 * p) + 0.2 * noise(5.1 * p); }

vec3 surface(vec2 p) {
    vec2 q = p / period;
    if (pattern == 1) {
        vec2 plank = vec2(floor(q.x), floor(q.y / 8.0 + hash(vec2(floor(q.x), 3.0))));
        float grain = noise(vec2(p.x * 60.0, p.y * 4.0) + plank * 7.0);
        float seam = step(0.96, fract(q.x));
        return mix(rgb_a, rgb_b, 0.5 * hash(plank) + 0.4 * grain) * (1.0 - 0.5 * seam);
    }
    if (pattern == 2) {
        vec2 edge = step(vec2(0.97), fract(q));
        vec3 tile = mix(rgb_a, rgb_b, hash(floor(q)) * 0.5 + 0.3 * fbm(q * 4.0));
        return mix(tile, rgb_b * 0.7, max(edge.x, edge.y));
    }
    if (pattern == 3) {
        vec2 brick = vec2(q.x * 0.5 + 0.5 * mod(floor(q.y * 1.5), 2.0), q.y * 1.5);
        vec2 edge = step(vec2(0.95, 0.88), fract(brick));
        return mix(mix(rgb_a, rgb_b, hash(floor(brick))), vec3(0.6), max(edge.x, edge.y));
    }
    if (pattern == 4) return mix(rgb_a, rgb_b, smoothstep(0.45, 0.55, abs(fract(q.x) * 2.0 - 1.0)));
    if (pattern == 5) return mix(rgb_a, rgb_b, noise(p * 180.0) * 0.6 + 0.4 * noise(q));
    if (pattern == 6) {
        vec2 cell = floor(q * (3.0 + mod(seed, 5.0)));
        float edge = step(0.5, fbm(q * 3.0 + seed));
        vec3 block = vec3(hash(cell), hash(cell + 3.0), hash(cell + 7.0));
        return mix(mix(rgb_a, rgb_b, edge), block, 0.35 * step(0.4, hash(vec2(seed, 1.0))));
    }
    if (pattern == 8) {
        vec2 half_open = vec2(0.2, 0.24) + 0.15 * fract(vec2(seed, 3.0 * seed));
        vec2 off = abs(fract(q) - 0.5);
        bool glass = all(lessThan(off, half_open));
        bool frame = all(lessThan(off, half_open + 0.03));
        vec3 wall = rgb_a * (0.8 + 0.4 * fbm(p * 0.7));
        return glass ? rgb_b * (0.3 + 1.4 * hash(floor(q))) : frame ? 0.6 * wall + 0.3 : wall;
    }
    return rgb_a;
}

vec3 photo(vec2 p) {
    float layer = floor(fract(seed * 37.17) * float(photo_count));
    vec2 q = (fract(seed * 5.3) < 0.5 ? p : p.yx) / photo_m + vec2(0.5, 0.0);
    return pow(texture(photos, vec3(q, layer)).rgb, vec3(2.2)) * (0.4 + rgb_a);
}

vec2 flat_coordinates(vec3 p, vec3 n) {
    vec3 a = abs(n);
    if (a.z > a.x && a.z > a.y) return p.xy;
    return a.x > a.y ? p.yz : p.xz;
}

void main() {
    depth = dot(world - eye, forward);
    if (pattern == 7) {
        vec3 way = normalize(world - eye);
        float haze = smoothstep(-0.1, 0.3, way.z);
        float stain = 0.6 + 0.6 * fbm(flat_coordinates(way, facing) * 32.0);
        colour = vec4(mix(rgb_b, rgb_a, haze) * stain, 1.0);
        return;
    }
    vec3 n = normalize(facing), to_eye = normalize(eye - world);
    if (dot(n, to_eye) < 0.0) n = -n;
    vec2 p = flat_coordinates(local, local_facing);
    vec3 base = look.rgb * (photo_m > 0.0 && photo_count > 0 ? photo(p) : surface(p));
    if (look.a > 0.0 && layer_base >= 0) {
        float layer = float(layer_base) + floor(look.a * 255.0 + 0.5) - 1.0;
        base *= pow(texture(layers, vec3(texture_uv, layer)).rgb, vec3(2.2));
    } else if (layer_base == -1) base = pow(base, vec3(1.3));
    base *= 0.8 + 0.4 * fbm(p * 1.3);
    vec3 gap = min(world, room - world);
    vec3 close = smoothstep(0.0, 0.35, max(gap, 0.0));
    float corner = 0.45 + 0.55 * min(close.x * close.y, min(close.y * close.z, close.x * close.z));
    vec3 sum = base * ambient * corner * (0.75 + 0.25 * n.z);
    for (int i = 0; i < 4; ++i) {
        if (light_rgb[i] == vec3(0.0)) break;
        vec3 way = light_position[i].xyz - (light_position[i].w > 0.5 ? world : vec3(0.0));
        float fade = light_position[i].w > 0.5 ? 1.0 / (0.6 + dot(way, way)) : 1.0;
        way = normalize(way);
        float lit = max(dot(n, way), 0.0);
        if (i == 0 && shadow_at.w > 0.0) {
            vec3 at = shadow_at.xyz / shadow_at.w * 0.5 + 0.5;
            if (all(greaterThan(at, vec3(0.0))) && all(lessThan(at, vec3(1.0)))) {
                float seen = 0.0;
                for (int k = 0; k < 4; ++k) {
                    vec2 shift = (vec2(k & 1, k >> 1) - 0.5) * 0.0025;
                    seen += 0.25 * texture(shadow_map, at + vec3(shift, -0.0012));
                }
                lit *= seen;
            }
        }
        float glare = gloss * pow(max(dot(n, normalize(way + to_eye)), 0.0), 24.0);
        sum += (base * lit + glare * lit) * light_rgb[i] * fade;
    }
    colour = vec4(sum, 1.0);
}
"""

SHADOW_VERTEX = """
#version 330
uniform mat4 model, view_projection;
in vec3 position;
void main() { gl_Position = view_projection * model * vec4(position, 1.0); }
"""

SHADOW_FRAGMENT = """
#version 330
void main() {}
"""

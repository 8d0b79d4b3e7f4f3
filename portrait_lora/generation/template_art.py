"""Templates beyond studio photographs: renders, magazines, paintings, fantasy and historical styles."""

from __future__ import annotations

from typing import Final

from portrait_lora.generation.template_studio import Template, look, plain

ART: Final = (
    Template(
        "render",
        "render3d",
        look(
            "headshot",
            "smooth teal hooded sweater",
            "seamless blue backdrop",
            "three-point studio lighting",
            "3D render, path traced",
            camera="50 mm lens",
            texture="subsurface scattering on skin, fine knit weave, separate hair strands",
        ),
        plain(
            "headshot", "teal v-neck", "blue seamless backdrop", "three-point lighting", expression="smiling"
        ),
        aspect="1:1",
        unsaid=("3D render",),
    ),
    Template(
        "clay",
        "render3d",
        look(
            "headshot",
            "round yellow jumper",
            "pastel paper set",
            "soft light from above",
            "claymation figure",
            camera="50 mm lens",
            texture="fingerprints in the clay",
        ),
        aspect="1:1",
    ),
    Template(
        "magazine",
        "editorial",
        look(
            "three-quarter shot",
            "oversized wool coat",
            "raw concrete wall",
            "hard flash from camera left",
            "Fujifilm Pro 400H",
            camera="50 mm lens at f/5.6",
        ),
        {
            **plain("close-up", "red v-neck", "grey textured backdrop", "split lighting"),
            "view": "three-quarter",
        },
        aspect="2:3",
        unsaid=("coat", "concrete", "flash"),
        wider={**plain("close-up", "red v-neck", "brick wall", "split lighting"), "view": "three-quarter"},
    ),
    Template(
        "oil",
        "artistic",
        look(
            "medium shot",
            "velvet jacket",
            "dark umber background",
            "low-key light from the upper left",
            "oil painting",
            camera="half-length composition",
            texture="visible brush strokes, cracked varnish",
        ),
        {
            **plain("headshot", "plum v-neck", "charcoal textured backdrop", "low-key lighting"),
            "style": "oil painting",
            "view": "three-quarter",
        },
        unsaid=("velvet", "umber"),
    ),
    Template(
        "watercolour",
        "artistic",
        look(
            "headshot",
            "loose scarf",
            "bare cream paper",
            "soft daylight from the left",
            "watercolour",
            camera="square composition",
            texture="paper grain and soft bleeding edges",
        ),
    ),
    Template(
        "anime",
        "artistic",
        look(
            "headshot",
            "school jacket",
            "cherry trees in bloom",
            "soft backlight from the right",
            "anime",
            camera="portrait composition",
            texture="clean ink lines with cel shading",
        ),
    ),
    Template(
        "illustration",
        "artistic",
        look(
            "headshot",
            "mustard jumper",
            "flat teal background",
            "side light from the left",
            "vector illustration",
            camera="portrait composition",
            texture="grainy gradients and clean ink lines",
        ),
        plain("headshot", "mustard turtleneck", "green seamless backdrop", "split lighting", style="cartoon"),
        aspect="1:1",
        unsaid=("vector", "grain"),
    ),
    Template(
        "ranger",
        "character",
        look(
            "medium shot",
            "worn leather cloak with stitching",
            "misty pine forest",
            "volumetric light from above",
            "muted green grade",
        ),
        aspect="2:3",
    ),
    Template(
        "astronaut",
        "character",
        look(
            "medium shot",
            "scratched white pressure suit with orange straps",
            "dim cockpit",
            "instrument glow from below, cool rim",
            "deep blue grade",
            texture="scratches and dust on the visor ring",
        ),
        aspect="2:3",
    ),
    Template(
        "victorian",
        "historical",
        look(
            "medium shot",
            "dark wool frock coat",
            "painted studio backdrop",
            "north window light from the left",
            "tintype photograph",
            texture="plate scratches, silver grain",
        ),
        plain(
            "headshot", "black suit", "grey textured backdrop", "rembrandt lighting", style="monochrome film"
        ),
        unsaid=("frock coat", "tintype"),
        wider=plain(
            "headshot", "black suit", "grey textured backdrop", "window light", style="monochrome film"
        ),
    ),
    Template(
        "renaissance",
        "historical",
        look(
            "medium shot",
            "brocade sleeves and dark mantle",
            "distant hazy landscape",
            "soft light from the upper left",
            "oil painting, fifteenth century",
            camera="half-length composition",
            texture="fine glazes, cracked varnish",
        ),
    ),
)

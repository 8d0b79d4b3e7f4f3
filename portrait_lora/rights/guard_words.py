"""Word lists of the guard, in eight languages, as the guard reads text: lower case, without diacritics.

Entries stand between commas; words of an entry have to stand side by side; `*` is any ending.  `PASSES` are
taken out of the text first: ordinary words that contain one of the others.  An administrator's `policy.yaml`
adds to both.  All lists are read whatever the language, so words that are harmless in another one are left
out or stand in a phrase.  Written for this program; measured on `tests/rights/guarded_prompts.tsv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from portrait_lora.rights.policy import Topic

_SEXUAL: Final = """
nude, nudes, nudity, nudist*, nudism, naked, nakedness, topless, bottomless, undress*, unclothed,
disrob*, stripping, striptease*, stripper*, porn*, xxx, nsfw, erotic*, erotica, hentai, ecchi, sex,
sexual*, sexting, intercourse, orgasm*, masturbat*, blowjob*, handjob*, rimjob*, cunniling*,
fellati*, deepthroat*, penetrat*, ejaculat*, cumshot*, cum, creampie*, gangbang*, threesome*, orgy,
orgies, bdsm, bondage, fetish*, kinky, dominatrix, genital*, penis*, vagina*, vulva*, clitoris,
pussy, cock, cocks, boob*, tits, titties, nipple*, areola*, buttock*, butthole*, anus, anal,
breasts, cleavage, lingerie, crotchless, upskirt*, downblouse*, camgirl*, onlyfans, prostitut*,
whore*, slut*, horny, seductively, deepnude, nudif*, milf, dildo*, vibrator*, fuck*, jerking off,
bare breast*, bare bottom*, bare ass, bare butt*, bare chested woman, exposed breast*, see through
blouse, see through dress, see through top, see through shirt, see thru, without clothes, without
any clothes, without clothing, no clothes, wearing nothing, clothes off, clothes removed, remove her
clothes, remove his clothes, her clothes off, taking off her *, taking off his clothes, birthday
suit, oral sex, making love, have sex, having sex, spread legs, legs spread, legs wide open, on all
fours, doggy style, missionary position, full frontal, private parts, intimate parts, in underwear,
in her underwear, in his underwear, wet t shirt, hand bra, only a towel, adult film*, adult content,
rule 34, x rated, seductive pose*, provocative pose*, sensual pose*, in a thong, with nothing on,
nackt*, splitternackt*, splitterfasernackt*, halbnackt*, entbloss*, entkleid*, unbekleid*, busen,
nacktheit, nippel, brustwarz*, geschlechtsverkehr, geschlechtsteil*, genitalien, muschi, fotze*,
titten, arschloch, porno*, erotik*, erotisch*, sexuell*, sexszene*, ficken, fickt, gefickt*,
wichsen, masturbier*, onanier*, dessous, reizwasche, hure, huren, nutte*, schlampe*, prostituiert*,
oben ohne, unten ohne, ohne kleid*, ohne etwas an, aktfoto*, aktbild*, aktaufnahme*, aktpose*, in
unterwasche, gespreizte* beine*, barbusig*, durchsichtige* bluse, evakostum, adamskostum,
intimbereich, gruppensex, oralsex, analsex, strapse, nu, nue, nus, nues, denude*, deshabill*,
devetu*, nichons, tetons, fesses, bite en erection, verge en erection, sexe, sexes, sexuel*,
pornograph*, erotique*, erotisme, orgasme*, fellation*, sodom*, partouze*, putain, salope*, porte
jarretelles, porte jarretelle, sans vetement*, a poil, seins a l air, jambes ecartees, tenue d eve,
tenue d adam, sans rien sur elle, sans rien sur lui, rapports sexuels, parties intimes, en sous
vetements, petite tenue, seins, nudite, baise, desnud*, semidesnud*, en cueros, en pelotas, sin
ropa, sin nada puesto, pechos, tetas, pezon*, culo, polla, follar, follando, folla, sexo, felacion,
mamada*, orgia*, puta, putas, ropa interior, lenceria, piernas abiertas, desvest*, desvisti*,
quitandose la ropa, relaciones sexuales, partes intimas, masturb*, nudo, nuda, nudi, nudita,
seminud*, svestit*, spogliat*, spogliarell*, senza vestiti, senza abiti, senza niente addosso,
tette, capezzol*, cazzo, figa, pene, sesso, sessual*, pompin*, scopare, scopat*, puttan*,
reggicalze, perizoma, biancheria intima, intimo di pizzo, gambe aperte, parti intime, si spoglia,
nua, nuas, pelada, pelado, peladas, sem roupa*, sem nada no corpo, seios, peitos, mamilo*, bunda,
caralho, buceta, boquete*, transando, foder, fodendo, calcinha*, fio dental, roupa intima, pernas
abertas, tirando a roupa, seminu*, nudez, de cueca, tesuda*, nago, naga, nagi, nagie, nagich, nagim,
nagiego, nagiej, nagosc, nagosci, polnag*, rozebran*, roznegliz*, rozbiera*, obnazon*, goly, golego,
golych, bez ubran*, bez odziezy, piersi, cycki, cyce, sutk*, posladk*, dupa, dupe, dupy, cipa,
cipka, cipke, kutas*, chuj*, pochwa, seks*, erotyczn*, erotyk*, orgazm*, orgii, kurwa*, prostytut*,
dziwka*, dziwki, bielizn*, stringi, stringach, rozlozone nogi, rozlozonymi nogami, stroju ewy,
stroju adama, miejsca intymne, negliz*, ciplak*, cirilciplak*, ciril ciplak*, yari ciplak*, uryan,
soyun*, ustsuz*, gogsu acik, gogusleri, memeler*, amcik*, yarrak*, sikis*, sikiyor*, cinsel*,
orgazm, fahise*, orospu*, ic camasir*, iccamasir*, giysisiz*, elbisesiz*, kiyafetsiz*, bacaklari
acik, mahrem yer*, anadan dogma*, kiyafetlerini cikar*, tangali
"""
_MINORS: Final = """
child, children, childlike, kids, a kid, little kid*, young kid*, small kid*, toddler*, infant,
infants, newborn*, a baby, as a baby, baby boy*, baby girl*, babies, preschooler*, schoolgirl*,
schoolboy*, schoolchild*, schoolkid*, preteen*, preadolesc*, tween, tweens, teen, teens, teenage,
teenaged, teenager*, adolescent*, underage*, under age, a minor, minors, juvenile, loli, lolita*,
lolicon, shota*, jailbait, pubescen*, prepubescen*, little girl*, little boy*, young girl*, young
boy*, small boy*, small girl*, girl scout*, boy scout*, elementary school*, middle school*, high
school student*, high school girl*, high school boy*, primary school*, grade school*, first grader*,
barely legal, kindergartner*, kindergartener*, ein kind, als kind, kleines kind, kleinen kind*,
kindern, kleinkind*, kindlich*, kindes, saugling*, neugeboren*, madchen, jugendlich*, schulerin*,
schuler, schulkind*, schuljung*, schulmadchen, grundschul*, vorschulkind*, kleiner junge*, kleinen
jungen, junger bub, halbwuchsig*, minderjahrig*, teenagerin*, als baby, enfant*, gamin, gamine,
gamins, fillette*, garconnet*, bebe, bebes, nourrisson*, ecolier*, ecoliere*, collegien*, lyceen*,
mineur, mineure, mineurs, mineures, prepuber*, petite fille*, petit garcon*, jeune fille*, jeune
garcon*, nino, nina, ninos, ninas, chiquill*, chiquitin*, colegial*, adolescente*, menor de edad,
menores de edad, parvul*, escolar de *, de primaria, bambin*, bimba, bimbi, bimbe, neonat*,
ragazzin*, fanciull*, scolar*, minorenn*, minori, crianca*, menino*, menina*, garotinh*, menor de
idade, menores de idade, recem nascid*, dziecko, dziecka, dzieckiem, dzieci, dziecin*, dziewczynk*,
chlopczyk*, chlopiec, chlopca, chlopcem, niemowl*, przedszkolak*, uczennic*, licealist*, nastolat*,
maloletni*, nieletni*, niepelnoletni*, mala dziewczyn*, cocuk, cocugu, cocuklar*, cocugun, bebek,
bebeg*, yeni dogan*, kucuk kiz*, kucuk oglan*, kiz cocu*, erkek cocu*, ergen*, resit olmayan*,
ilkokul*, ortaokul*, liseli*
"""
_VIOLENCE: Final = """
gore, gory, gruesome, behead*, decapitat*, dismember*, disembowel*, eviscerat*, mutilat*, massacre*,
slaughter*, murder*, corpse*, cadaver*, dead body, dead bodies, dead woman, dead man, lying dead,
shot dead, killed, killing a, killing her, killing him, lynch*, executed, hanged, noose*, strangl*,
choked to, being choked, choking her, choking him, suffocat*, stabbed, stabbing, slit throat*,
throat slit, slitting, bloody, bloodied, bloodbath*, bloodstain*, bloodsoak*, bleeding, gunshot*,
gunned down, shot in the head, shot in the face, shot in the chest, tortur*, whipped by, flogged,
brutally, brutali*, abused, assaulted, raped, rape, rapes, raping, rapist*, molest*, incest*,
kidnap*, hostage*, suicide, suicidal, impaled, crucifi*, burned alive, burning alive, burnt alive,
burned at the stake, severed, amputat*, terrorist*, beating up, beaten up, badly beaten, beaten and,
beaten to, beaten by, bruised and, bruises on, covered in bruises, in a coffin, blood on, blood
soaked, covered in blood, pool of blood, blood all over, dripping blood, dripping with blood, blood
dripping, blood running, cut wrist*, cutting wrist*, slit wrist*, self harm*, harming himself,
harming herself, gun to his *, gun to her *, gun at his *, gun at her *, gun in his mouth, gun in
her mouth, knife to his *, knife to her *, knife at her *, knife at his *, knife in his *, knife in
her *, head cut off, body parts, hung from a *, nazi salute, ss uniform, hitler*, swastika*, mass
shooting*, school shooting*, bound and gagged, tied up and, domestic violence, bullet hole*, bullet
wound*, drowning her, drowning him, electrocut*, hacked to, torn apart, guts, entrails, wounded and,
blutig*, blutend*, blutverschmier*, blutuberstrom*, blutbeschmier*, gekopft*, enthaupt*,
abgeschlacht*, zerstuckel*, verstummel*, ermord*, mord, getotet*, leiche*, leichnam*, liegt tot,
tote frau, tote im, tot am, toter mann, toter korper, erschossen*, erschiess*, erstochen*, erwurg*,
gewurgt*, erhangt*, gehangt*, hingericht*, hinricht*, gefoltert*, folter*, misshandel*,
vergewaltig*, verprugel*, zusammengeschlag*, selbstmord*, suizid*, entfuhrt*, geisel*, gekreuzigt*,
aufgeschlitzt*, verblut*, massaker*, blut uberall, voller blut, in einer blutlache, blutlache*,
waffe am kopf, pistole am kopf, messer am hals, hakenkreuz*, sanglant*, ensanglant*, du sang
partout, mare de sang, couvert de sang, couverte de sang, plein de sang, egorg*, cadavre*, demembr*,
assassin*, meurtr*, tuer, tuee, poignard*, etrangl*, pendu, pendue, executee*, violee, violer, viol
collectif, agressee, otage*, eventr*, battue a, tabass*, arme sur la tempe, corps sans vie, pistolet
sur la tempe, couteau sous la gorge, croix gammee*, femme morte, homme mort, roue de coups, rouee de
coups, sangrient*, ensangrent*, charco de sangre, cubierto de sangre, cubierta de sangre, lleno de
sangre, llena de sangre, degoll*, descuartiz*, asesin*, matando, muerto, muerta, apunal*,
estrangul*, ahorcad*, ejecutad*, violad*, violacion, golpead*, suicid*, rehen, rehenes, secuestrad*,
crucific*, masacr*, acuchill*, pistola en la cabeza, pistola en la sien, cuchillo en el cuello,
esvastica*, sangrando, insanguinat*, sanguinant*, pozza di sangue, coperto di sangue, coperta di
sangue, piena di sangue, pieno di sangue, sgozzat*, smembrat*, uccis*, uccidere, morto, morta,
accoltell*, pugnalat*, strangolat*, impiccat*, giustiziat*, stupr*, violentat*, picchiat*, ostaggio,
rapita, rapito, crocifiss*, pistola alla testa, pistola alla tempia, coltello alla gola, svastica*,
ensanguentad*, poca de sangue, coberto de sangue, coberta de sangue, cheio de sangue, cheia de
sangue, degolad*, esquartejad*, assassinad*, esfaquead*, enforcad*, executad*, estuprad*, estupro,
espancad*, refem, sequestrad*, crucificad*, arma na cabeca, faca no pescoco, suastica*, krwawiac*,
krwawi, zakrwawion*, kaluza krwi, kaluzy krwi, we krwi, pokryta krwia, pokryty krwia, obcieta glow*,
scieta glow*, poderzniet*, zamordowan*, morderst*, mordow*, zabit*, zabij*, trup, trupa na, zwlok*,
martwa, martwy, martwe cialo, niezyw*, zasztyletowan*, dzgniet*, uduszon*, powieszon*, stracon*,
egzekucj*, torturowan*, zgwalcon*, gwalt*, gwalci*, pobita, pobity, samoboj*, zakladni*, porwan*,
ukrzyzowan*, masakr*, okaleczon*, pistolet przy glowie, noz przy gardle, swastyk*, kanlar icinde,
kanli ceset, kan golu*, kan icinde, kana bulan*, basi kesik, kafasi kes*, bogazi kes*, oldurul*,
olduren, oldurmek, olduru*, katled*, cinayet*, ceset, cesedi, cesetler*, olmus bir, olu bir,
bicaklan*, bogulmus, bogazlan*, asilmis, idam*, iskence*, tecavuz*, dovulmus, dovulen, intihar*,
rehin*, kacirilmis, carmih*, katliam*, parcalanmis, basina silah, basina daya*, bogazina bicak,
gamali hac*
"""
PASSES: Final = """
nude lip*, nude make up, nude makeup, nude palette, nude tone*, nude colour*, nude color*, nude
heels, nude nail*, nude polish, nude pumps, nude shade*, nude pink, nude beige, nude eyeshadow, nude
stocking*, nude look, nude shoe*, nude gloss, nude blush, nude satin, nude silk, naked eye*, naked
flame*, naked bulb*, naked light*, naked brick*, naked wood, naked concrete, naked branch*, naked
tree*, naked truth, same sex couple*, same sex wedding, sex and the city, cock feather*, pussy
willow*, pussy bow*, pussycat bow, breast pocket*, chicken breasts, cum laude, child of the *, inner
child, child s play, child actor*, child psycholog*, child care, children s *, childrens book*,
childrens author*, childrens hospital, children s hospital, a kid leather, kid leather, a kid
mohair, a kid suede, a kid glove*, a baby blue *, a baby pink *, a baby grand*, a baby doll shoe*, a
baby s breath, in a minor, a minor key, a minor detail*, a minor adjustment*, a minor imperfection*,
a minor scratch*, a minor blemish*, teen spirit, mother of * children, father of * children, mother
of * kids, father of * kids, primary school teacher*, elementary school teacher*, high school
teacher*, middle school teacher*, primary school headmaster, teacher of children, no children, day
of the dead, bloody mary, bloody maria, gut strings, murder mystery *, impaled roses, severed ties,
killing a few, suicide squad, suicide doors, bleeding edge*, bleeding colour*, bleeding color*,
bleeding ink*, pieds nus, bras nus, epaules nues, epaule nue, oeil nu, dos nu, tete nue, mains nues,
mur nu, murs nus, ampoule nue, levres nude*, ton nu, tons nus, pied nu, beton nu, brique* nue*,
jambes nues, rose nu, arbre* nu*, entre les seins des collines, manos desnud*, pies desnud*, hombros
desnud*, pared desnud*, ladrillo desnud*, bombilla desnud*, brazos desnud*, arbol* desnud*, cara
desnuda de maquillaje, piedi nudi, piede nudo, spalle nude, spalla nuda, occhio nudo, muro nudo,
mani nude, braccia nude, lampadina nuda, mattone nudo, rossetto nude, labbra nude, ombros nus, ombro
nu, pes nus, bracos nus, olho nu, parede nua, lampada nua, batom nude, esmalte nude, tijolo nu, mao
nua, maos nuas, nackte schulter*, nackten schultern, nackte gluhbirne*, nackter beton, nackte wand,
nackte mauer, nackten fussen, nackte fusse, nackte arme, nackten armen, nacktem beton, nackte
ziegel*, nackten ziegel*, nacktem auge, ohne kleiderb*, mit blossem auge, ciplak ayak*, ciplak
omuz*, ciplak goz*, ciplak beton, ciplak tugla*, ciplak duvar*, ciplak kol*, yalin ayak, cinsel
cekicilik yok, nagi mur, nagiej cegly, naga cegla, nagie drzew*, nagim okiem, goly beton, goly mur,
golym okiem, nagie ramion*, nagimi ramionami, mystery morto, natura morta, natureza morta,
naturaleza muerta, nature morte, ponto morto, punto muerto, mar muerto, mar morto, dia de los
muertos, dia de muertos, dia dos mortos, martwa natura, krwawa mary, olu deniz, oludeniz, sourire d
enfant*, enfant du pays, d enfance, enfants du paradis, jeune fille a la perle, livre* pour enfant*,
bonne d enfants, kindern im hintergrund, jugendstil*, jugendlicher charme, jugendlich frisch*,
jugendlichem charme, madchen mit dem perlenohrring*, grundschullehrer*, ragazza con l orecchino,
scolaro di, la nina bonita, el nino corriente, fenomeno el nino, menina dos olhos, las meninas,
maestra de primaria, maestro de primaria, profesora de primaria, profesor de primaria, cocuk
doktoru*, cocuk kitab*, ilkokul ogretmen*, ortaokul ogretmen*, ksiazki dla dzieci, ksiazek dla
dzieci, lekarz dzieci, autor de livros para criancas, livros para criancas, libros para ninos, libri
per bambini
"""
WORDS: Final[Mapping[Topic, str]] = {"sexual": _SEXUAL, "minors": _MINORS, "violence": _VIOLENCE}

//! What things are called. The names are those of streets and towns of Shenzhen; where they run here is invented.

/// A road's name, its class as OSM `highway=*`, and its posted limit in km/h.
pub(super) type RoadName = (&'static str, &'static str, f64);

/// North to south, from the west.
pub(super) const COLUMNS: &[RoadName] = &[
    ("宝安大道 Bao'an Boulevard", "primary", 60.0),
    ("广深公路 Guangshen Highway", "trunk", 70.0),
    ("前海大道 Qianhai Boulevard", "primary", 50.0),
    ("南海大道 Nanhai Boulevard", "primary", 60.0),
    ("沙河西路 Shahe West Road", "trunk", 80.0),
    ("南光高速 Nanguang Expressway", "motorway", 100.0),
    ("科苑大道 Keyuan Boulevard", "secondary", 50.0),
    ("福龙路 Fulong Road", "trunk", 60.0),
    ("龙华大道 Longhua Boulevard", "primary", 60.0),
    ("梅观高速 Meiguan Expressway", "motorway", 100.0),
    ("民治大道 Minzhi Boulevard", "secondary", 50.0),
    ("清平高速 Qingping Expressway", "motorway", 80.0),
];

/// West to east, from the south.
pub(super) const ROWS: &[RoadName] = &[
    ("滨海大道 Binhai Boulevard", "trunk", 80.0),
    ("深南大道 Shennan Boulevard", "primary", 60.0),
    ("北环大道 Beihuan Boulevard", "trunk", 80.0),
    ("南坪快速 Nanping Expressway", "trunk", 80.0),
    ("留仙大道 Liuxian Boulevard", "primary", 60.0),
    ("布龙路 Bulong Road", "primary", 60.0),
    ("石龙路 Shilong Road", "secondary", 50.0),
    ("机荷高速 Jihe Expressway", "motorway", 100.0),
    ("松白路 Songbai Road", "primary", 60.0),
    ("观澜大道 Guanlan Boulevard", "primary", 60.0),
    ("外环高速 Outer Ring Expressway", "motorway", 100.0),
];

/// Streets a few hundred metres behind a row and parallel to it for three blocks: the row, and the column at which they
/// begin.
pub(super) const ROW_BACK_STREETS: &[(RoadName, usize, usize)] = &[
    (("塘头大道 Tangtou Boulevard", "tertiary", 40.0), 7, 2),
    (("华荣路 Huarong Road", "tertiary", 40.0), 7, 6),
    (("丽山路 Lishan Road", "tertiary", 40.0), 3, 5),
    (("工业路 Gongye Road", "tertiary", 40.0), 8, 5),
];

/// The same behind a column.
pub(super) const COLUMN_BACK_STREETS: &[(RoadName, usize, usize)] = &[
    (("朗山路 Langshan Road", "tertiary", 40.0), 5, 4),
    (("桃园路 Taoyuan Road", "tertiary", 40.0), 1, 5),
    (("同发路 Tongfa Road", "tertiary", 40.0), 4, 2),
    (("梅坂大道 Meiban Boulevard", "tertiary", 40.0), 7, 5),
];

/// Streets between two rows.
pub(super) const ROW_STREETS: &[RoadName] = &[
    ("创业路 Chuangye Road", "secondary", 50.0),
    ("学府路 Xuefu Road", "tertiary", 40.0),
    ("高新南道 Gaoxin South Road", "residential", 30.0),
    ("茶光路 Chaguang Road", "secondary", 50.0),
    ("打石一路 Dashi First Road", "tertiary", 40.0),
    ("和平路 Heping Road", "secondary", 50.0),
    ("大浪南路 Dalang South Road", "tertiary", 40.0),
    ("罗租路 Luozu Road", "residential", 30.0),
    ("宝石路 Baoshi Road", "secondary", 50.0),
];

/// Streets between two columns.
pub(super) const COLUMN_STREETS: &[RoadName] = &[
    ("航城大道 Hangcheng Boulevard", "secondary", 50.0),
    ("前进路 Qianjin Road", "tertiary", 40.0),
    ("同乐路 Tongle Road", "residential", 30.0),
    ("石鼓路 Shigu Road", "tertiary", 40.0),
    ("平山一路 Pingshan First Road", "residential", 30.0),
    ("油松路 Yousong Road", "secondary", 50.0),
    ("东环一路 Donghuan First Road", "secondary", 50.0),
    ("梅龙路 Meilong Road", "secondary", 50.0),
    ("人民路 Renmin Road", "tertiary", 40.0),
];

/// A road beside or above another, so near that a fix cannot tell which: the road that it follows, its own name, class
/// and posted limit, and how far to the right of the other it lies, metres.
pub(super) type Beside = (&'static str, RoadName, f64);

/// Service roads, slower than what they run beside, and elevated ones, faster than the street below.
pub(super) const BESIDE: &[Beside] = &[
    ("滨海大道 Binhai Boulevard", ("滨海大道辅路 Binhai Boulevard Service Road", "tertiary", 30.0), 14.0),
    ("北环大道 Beihuan Boulevard", ("北环大道辅路 Beihuan Boulevard Service Road", "secondary", 40.0), -16.0),
    ("沙河西路 Shahe West Road", ("沙河西路辅路 Shahe West Road Service Road", "tertiary", 40.0), 12.0),
    ("机荷高速 Jihe Expressway", ("机荷高速辅道 Jihe Expressway Frontage Road", "primary", 60.0), -18.0),
    ("深南大道 Shennan Boulevard", ("深南高架 Shennan Elevated Road", "trunk", 60.0), 3.0),
    ("龙华大道 Longhua Boulevard", ("龙华高架 Longhua Elevated Road", "motorway", 80.0), -4.0),
];

/// Places with the spot near which they are laid out, metres from the middle of the city.
pub(super) const SOURCES: &[(&str, f64, f64)] = &[
    ("前海地铁枢纽工地 Qianhai Metro Hub", -9_000.0, -7_000.0),
    ("后海总部基地工地 Houhai Headquarters", -4_000.0, -9_000.0),
    ("西丽高铁站工地 Xili Railway Station", -2_500.0, -2_500.0),
    ("留仙洞总部工地 Liuxiandong Campus", -6_000.0, -1_500.0),
    ("宝安中心区工地 Bao'an Centre", -10_500.0, 1_500.0),
    ("深圳北站商务区工地 Shenzhen North Business District", 5_500.0, -3_500.0),
    ("龙华红山工地 Hongshan Civic Centre", 8_500.0, 1_500.0),
    ("观澜老街改造工地 Guanlan Renewal", 6_500.0, 8_500.0),
];

pub(super) const SINKS: &[(&str, f64, f64)] = &[
    ("部九窝消纳场 Bujiuwo Landfill", 1_500.0, 5_500.0),
    ("铁岗消纳场 Tiegang Landfill", -7_500.0, 6_500.0),
    ("大浪消纳场 Dalang Landfill", 3_500.0, 9_000.0),
    ("清湖消纳场 Qinghu Landfill", 10_500.0, 5_500.0),
];

pub(super) const DEPOT: (&str, f64, f64) = ("石岩停车场 Shiyan Depot", -3_000.0, 4_000.0);
pub(super) const WORKSHOP: (&str, f64, f64) = ("白石洲修理厂 Baishizhou Workshop", 2_500.0, -8_500.0);

pub(super) const COMPANIES: &[&str] = &[
    "深圳鹏程土石方运输有限公司",
    "深圳绿源渣土运输有限公司",
    "宝安建安运输有限公司",
    "龙华顺达土石方工程有限公司",
    "南山畅通环保运输有限公司",
    "深圳大鹏固废运输有限公司",
];

pub(super) const FAMILY_NAMES: &[&str] =
    &["陈", "李", "黄", "张", "林", "王", "吴", "刘", "杨", "郑", "周", "罗", "曾", "赖", "钟", "何"];
pub(super) const GIVEN_NAMES: &[&str] =
    &["伟强", "建国", "志明", "国华", "永福", "海军", "文辉", "小龙", "金水", "德胜", "卫东", "俊杰", "立平"];

/// Districts from the west edge and the line that parts them.
pub(super) const DISTRICTS: &[&str] = &["宝安区 Bao'an", "南山区 Nanshan", "龙华区 Longhua"];

/// Name, department, kind and district (by number) of each unit.
pub(super) const UNITS: &[(&str, &str, &str, usize)] = &[
    ("宝安交警机动中队", "traffic_police", "squad", 0),
    ("南山交警机动中队", "traffic_police", "squad", 1),
    ("龙华交警机动中队", "traffic_police", "squad", 2),
    ("宝安城管执法队", "urban_mgmt", "squad", 0),
    ("南山城管执法队", "urban_mgmt", "squad", 1),
    ("龙华住建督查组", "housing", "squad", 2),
    ("南山交通执法队", "transport", "squad", 1),
    ("宝安街道网格员", "urban_mgmt", "grid", 0),
    ("龙华街道网格员", "urban_mgmt", "grid", 2),
    ("南山交警辅警组", "traffic_police", "grid", 1),
    ("龙华交警辅警组", "traffic_police", "grid", 2),
    ("宝安交通协管员", "transport", "grid", 0),
];
